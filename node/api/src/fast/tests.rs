//! Bodies read in one pass against what serde reads of them.

use super::*;

/// What is read in one pass is what serde reads; `plain`: it is expected to be read that way.
fn check<T: FastBody + PartialEq + std::fmt::Debug>(body: &str, plain: bool) {
    let fast = T::read(body.as_bytes());
    assert_eq!(fast.is_some(), plain, "{body}");
    if let Some(fast) = fast {
        assert_eq!(fast, serde_json::from_str::<T>(body).expect("serde reads it too"), "{body}");
    }
}

/// A sequence that is the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    /// Digits, a point and an exponent as they come.
    fn number(&mut self) -> String {
        match self.below(6) {
            0 => f32::from_bits(self.next() as u32).to_string(),
            1 => f64::from(f32::from_bits(self.next() as u32)).to_string(),
            2 => format!("{:e}", f32::from_bits(self.next() as u32)),
            3 => ((self.next() as i64) >> self.below(64)).to_string(),
            4 => format!("{}", (self.next() as f64 / u64::MAX as f64) * 2.0 - 1.0),
            _ => {
                let sign = if self.below(2) == 0 { "-" } else { "" };
                let whole = self.next() >> self.below(64);
                format!("{sign}{whole}.{:0width$}", self.below(1 << 20), width = self.below(14) as usize)
            }
        }
    }
}

#[test]
fn numbers_are_to_the_bit_what_serde_makes_of_them() {
    let mut random = Random(0x5EED_0001);
    let (mut plain, mut all) = (0, 0);
    for _ in 0..200_000 {
        let text = random.number();
        let body = format!("[ {text},1]");
        let fast = Scan::new(&body).floats().map(|v| v[0].to_bits());
        let serde = serde_json::from_str::<Vec<f32>>(&body).ok().map(|v| v[0]).filter(|v| v.is_finite());
        all += 1;
        plain += u32::from(fast.is_some());
        match fast {
            Some(bits) => assert_eq!(Some(bits), serde.map(f32::to_bits), "{text}"),
            None => assert!(serde.is_none() || text.len() > 17 || text.contains('e'), "{text} is plain"),
        }
    }
    assert!(plain * 10 > all * 7, "{plain} of {all} in one pass");
    for (text, bits) in
        [("-0", (-0.0f32).to_bits()), ("0", 0), ("-0.0", (-0.0f32).to_bits()), ("1e2", 100f32.to_bits())]
    {
        assert_eq!(Scan::new(&format!("[{text}]")).floats().map(|v| v[0].to_bits()), Some(bits), "{text}");
    }
    for wrong in [
        "", "-", "01", "1.", ".5", "+1", "1e", "1e+", "1..2", "nan", "1 2", "0x1", "1e40", "1,", "--1",
        "\"1\"",
    ] {
        assert_eq!(
            Scan::new(&format!("[{wrong}]")).floats(),
            if wrong.is_empty() { Some(vec![]) } else { None },
            "{wrong}"
        );
    }
}

#[test]
fn queries() {
    check::<QueryRequest>(
        r#"{"query":[0.1,-2,3e-1],"limit":5,"with_payload":true,"params":{"hnsw_ef":64}}"#,
        true,
    );
    check::<QueryRequest>(r#" { "query" : { "nearest" : [1, 2] } , "offset" : null } "#, true);
    check::<QueryRequest>(
        r#"{"query":{"nearest":[1],"mmr":{"diversity":0.5}},"using":"a","score_threshold":0.5}"#,
        true,
    );
    check::<QueryRequest>(r#"{"query":7,"with_vector":["a"],"with_payload":{"exclude":["b"]}}"#, true);
    check::<QueryRequest>(r#"{"query":7,"with_vectors":["a"]}"#, true);
    check::<QueryRequest>(r#"{"query":null,"filter":{"must":[{"key":"a","match":{"value":"b"}}]}}"#, true);
    check::<QueryRequest>("{}", true);
    for unusual in [
        r#"{"limit":5,"limit":6}"#,
        r#"{"query":[1],"query":[2]}"#,
        r#"{"query":[[1]]}"#,
        r#"{"query":[1,]}"#,
        r#"{"query":[1e39]}"#,
        r#"{"query":[1]} x"#,
        r#"{"query":[1],}"#,
        r#"{"query":true}"#,
        r#"{"limit":-1}"#,
        r#"{"l\u0069mit":1}"#,
        r#"{"else":1}"#,
        "[]",
        "",
    ] {
        check::<QueryRequest>(unusual, false);
    }
    check::<QueryBatchRequest>(r#"{"searches":[{"query":[1]},{"query":7}]}"#, true);
    check::<QueryBatchRequest>(r#"{"searches":[{"query":[1]}{"query":7}]}"#, false);
    check::<SearchRequest>(r#"{"vector":[1,2],"limit":3}"#, true);
    check::<SearchRequest>(r#"{"vector":{"name":"a","vector":[1,2]},"limit":3,"filter":null}"#, true);
    check::<SearchRequest>(r#"{"vector":[1,2]}"#, false);
    check::<SearchBatchRequest>(r#"{"searches":[{"vector":[1,2],"limit":3}]}"#, true);
}

#[test]
fn upserts() {
    check::<ParsedUpsert>(
        r#"{"points":[{"id":1,"vector":[1,2],"payload":{"a":[1,{"b":"\u00e4\n"}],"c":-1.5e3}},
            {"id":"00000000-0000-0000-0000-000000000001","vector":{"a":[1],"b":[2]},"payload":null},
            {"payload":{ },"vector":[],"id":18446744073709551615},{"id":3,"vectors":{}}],"update_mode":"insert_only"}"#,
        true,
    );
    for unusual in [
        r#"{"batch":{"ids":[1],"vectors":[[1]]}}"#,
        r#"{"points":[{"id":-1,"vector":[1]}]}"#,
        r#"{"points":[{"id":1.5,"vector":[1]}]}"#,
        r#"{"points":[{"id":18446744073709551616,"vector":[1]}]}"#,
        r#"{"points":[{"id":1,"vector":[1],"payload":[1]}]}"#,
        r#"{"points":[{"id":1,"vector":[1],"payload":{"a":1e999}}]}"#,
        r#"{"points":[{"id":1,"vector":[1],"payload":{"a":"\ud800"}}]}"#,
        r#"{"points":[{"id":1,"vector":[1],"payload":{"a":01}}]}"#,
        r#"{"points":[{"id":1,"vector":[1],"payload":{"a":1,}}]}"#,
        r#"{"points":[{"id":1,"vector":[1],"payload":{1:1}}]}"#,
        r#"{"points":[{"id":1}]}"#,
        r#"{"points":[{"vector":[1]}]}"#,
        r#"{"points":[]"#,
    ] {
        check::<ParsedUpsert>(unusual, false);
    }
    let deep = format!(
        r#"{{"points":[{{"id":1,"vector":[1],"payload":{{"a":{}1{}}}}}]}}"#,
        "[".repeat(110),
        "]".repeat(110)
    );
    check::<ParsedUpsert>(&deep, false);
}

/// Whatever bytes come, both ways agree, or only serde reads them.
#[test]
fn broken_bodies_are_never_taken_for_whole_ones() {
    let whole =
        r#"{"points":[{"id":12,"vector":[0.25,-1.5],"payload":{"a":[true,null,"x\n"],"b":{"c":1.5}}}]}"#;
    let mut random = Random(0x5EED_0002);
    for _ in 0..50_000 {
        let mut bytes = whole.as_bytes().to_vec();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(3) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = b"{}[]\",:0-.eE\\tn 9\x01"[random.below(18) as usize],
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        if let Some(fast) = ParsedUpsert::read(&bytes) {
            let slow: ParsedUpsert =
                serde_json::from_slice(&bytes).expect("serde reads what was taken for whole");
            assert_eq!(fast, slow, "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
