//! A cursor over JSON text that knows the plain forms only.

/// Levels of a value; serde stops at 128, counted from the outermost object.
const DEPTH: u32 = 100;

/// Where reading stands.
#[derive(Clone, Copy)]
pub struct Scan<'a> {
    text: &'a str,
    at: usize,
}

/// The fields of an object that is being read.
pub struct Fields(bool);

/// The items of an array that is being read.
pub struct Items(bool);

impl Fields {
    /// The next key, its value being next to be read; `Some(None)` at the end of the object.
    pub fn next<'a>(&mut self, scan: &mut Scan<'a>) -> Option<Option<&'a str>> {
        if scan.peek()? == b'}' {
            scan.at += 1;
            return Some(None);
        }
        if !std::mem::replace(&mut self.0, false) {
            scan.expect(b',')?;
        }
        let key = scan.plain_string()?;
        scan.expect(b':')?;
        Some(Some(key))
    }
}

impl Items {
    /// Whether there is another item, which is next to be read.
    pub fn next(&mut self, scan: &mut Scan) -> Option<bool> {
        if scan.peek()? == b']' {
            scan.at += 1;
            return Some(false);
        }
        if !std::mem::replace(&mut self.0, false) {
            scan.expect(b',')?;
            // A comma before the end is an error.
            return (scan.peek()? != b']').then_some(true);
        }
        Some(true)
    }
}

impl<'a> Scan<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn byte(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// The next byte that is no space.
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.byte()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Whether nothing but space is left.
    pub fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    pub fn object(&mut self) -> Option<Fields> {
        self.expect(b'{').map(|()| Fields(true))
    }

    pub fn array(&mut self) -> Option<Items> {
        self.expect(b'[').map(|()| Items(true))
    }

    /// A string without escapes.
    fn plain_string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        let length = self.bytes()[start..].iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20))?;
        self.at = start + length + 1;
        (self.bytes()[start + length] == b'"').then(|| &self.text[start..start + length])
    }

    /// Any value, as its text. As strict as serde with a whole value, and stricter where that is simpler.
    pub fn value(&mut self) -> Option<&'a str> {
        self.skip_space();
        let start = self.at;
        self.skip_value(0)?;
        Some(&self.text[start..self.at])
    }

    fn skip_value(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' if depth < DEPTH => {
                self.at += 1;
                let mut first = true;
                while self.peek()? != b'}' {
                    if !std::mem::replace(&mut first, false) {
                        self.expect(b',')?;
                    }
                    self.peek().filter(|b| *b == b'"')?;
                    self.skip_string()?;
                    self.expect(b':')?;
                    self.skip_value(depth + 1)?;
                }
                self.at += 1;
                Some(())
            }
            b'[' if depth < DEPTH => {
                let mut items = self.array()?;
                while items.next(self)? {
                    self.skip_value(depth + 1)?;
                }
                Some(())
            }
            b't' => self.skip_word(b"true"),
            b'f' => self.skip_word(b"false"),
            b'n' => self.skip_word(b"null"),
            _ => self.skip_number(),
        }
    }

    fn skip_word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes()[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn skip_string(&mut self) -> Option<()> {
        let bytes = self.bytes();
        let mut at = self.at + 1;
        loop {
            match bytes.get(at)? {
                b'"' => break,
                b'\\' => match bytes.get(at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
                    b'u' => {
                        let digits = bytes.get(at + 2..at + 6)?;
                        // Half of a pair may be an error, which serde is asked about.
                        if !digits.iter().all(u8::is_ascii_hexdigit) || matches!(digits[0], b'd' | b'D') {
                            return None;
                        }
                        at += 6;
                    }
                    _ => return None,
                },
                0..0x20 => return None,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.byte().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// A number that is neither too long nor too large for 64 bits of any kind.
    fn skip_number(&mut self) -> Option<()> {
        if self.byte()? == b'-' {
            self.at += 1;
        }
        let first = self.byte()?;
        let whole = self.digits();
        if whole == 0 || whole > 100 || (first == b'0' && whole > 1) {
            return None;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            (self.digits() > 0).then_some(())?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            (1..=2).contains(&self.digits()).then_some(())?;
        }
        Some(())
    }

    /// An array of numbers that are finite as `f32`, to the bit what serde makes of them.
    pub fn floats(&mut self) -> Option<Vec<f32>> {
        let mut items = self.array()?;
        let mut all = Vec::with_capacity(384);
        while items.next(self)? {
            let v = match fraction(&self.bytes()[self.at..]) {
                Some((v, length)) => {
                    self.at += length;
                    v
                }
                None => self.float()?,
            };
            all.push(v.is_finite().then_some(v)?);
            // Most vectors go on like this, without any space.
            while self.byte() == Some(b',')
                && let Some((v, length)) = fraction(&self.bytes()[self.at + 1..])
            {
                self.at += 1 + length;
                all.push(v);
            }
        }
        Some(all)
    }

    /// The arithmetic is that of serde_json: a whole number of 64 bits, divided by a power of ten as `f64`.
    #[inline]
    fn float(&mut self) -> Option<f32> {
        let bytes = self.bytes();
        let negative = self.byte()? == b'-';
        self.at += usize::from(negative);
        let first = self.byte()?;
        let (significand, whole) = self.integer(0)?;
        if whole == 0 || (first == b'0' && whole > 1) {
            return None;
        }
        let (significand, fraction) = match bytes.get(self.at) {
            Some(b'.') => {
                self.at += 1;
                let (significand, fraction) = self.integer(significand)?;
                (significand, (fraction > 0).then_some(fraction)?)
            }
            // An integer is rounded once, from all its digits.
            Some(b',' | b']') if !(negative && significand == 0) => {
                let v = significand as f32;
                return Some(if negative { -v } else { v });
            }
            _ => (significand, 0),
        };
        let exponent = self.exponent()? - fraction as i32;
        let power = *POWERS.get(exponent.unsigned_abs() as usize)?;
        let v = if exponent < 0 { significand as f64 / power } else { significand as f64 * power };
        Some((if negative { -v } else { v }) as f32)
    }

    /// Digits after what is read already; `None` if they don't fit into 64 bits.
    #[inline]
    fn integer(&mut self, mut value: u64) -> Option<(u64, usize)> {
        let start = self.at;
        let bytes = self.bytes();
        // Eight at once, for as long as the result is certain to fit.
        while value < 100_000_000_000
            && let Some(eight) = bytes.get(self.at..self.at + 8)
            && let Some(eight) = eight_digits(u64::from_le_bytes(eight.try_into().ok()?))
        {
            value = value * 100_000_000 + eight;
            self.at += 8;
        }
        while let Some(digit) = self.byte().map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
            self.at += 1;
        }
        Some((value, self.at - start))
    }

    fn exponent(&mut self) -> Option<i32> {
        let Some(b'e' | b'E') = self.byte() else { return Some(0) };
        self.at += 1;
        let negative = self.byte()? == b'-';
        self.at += usize::from(matches!(self.byte()?, b'+' | b'-'));
        let (value, digits) = self.integer(0)?;
        let value = (1..=2).contains(&digits).then_some(value as i32)?;
        Some(if negative { -value } else { value })
    }
}

/// Bytes that are looked at for one number: a sign, a digit, a point, three times eight digits, and what follows.
const WINDOW: usize = 28;

/// A number as components of vectors mostly are: one digit, a point, at most eighteen digits, then a comma or the
/// end; and its length. Not the number it is, but `None`, where anything is unusual.
#[inline]
fn fraction(bytes: &[u8]) -> Option<(f32, usize)> {
    let window: &[u8; WINDOW] = bytes.get(..WINDOW)?.try_into().ok()?;
    let negative = window[0] == b'-';
    let start = usize::from(negative);
    let first = window[start].wrapping_sub(b'0');
    if first > 9 || window[start + 1] != b'.' {
        return None;
    }
    let (mut value, mut at, mut digits) = (u64::from(first), start + 2, 0);
    loop {
        let eight = u64::from_le_bytes(window.get(at..at + 8)?.try_into().ok()?) ^ ZEROS;
        // The lowest byte that is no digit has its top bit set; what a carry does to those above it does not matter.
        let others = (eight.wrapping_add(0x7676_7676_7676_7676) | eight) & 0x8080_8080_8080_8080;
        let count = others.trailing_zeros() as usize / 8;
        (at, digits) = (at + count, digits + count);
        // With the one before the point, 19 digits always fit.
        if digits > 18 {
            return None;
        }
        if count == 8 {
            value = value * 100_000_000 + join(eight);
        } else if count > 0 {
            // Moved up, the digits are the last of eight of which the first are zeros.
            value = value * TENS[count] + join(eight << (64 - 8 * count));
        }
        if count < 8 {
            break;
        }
    }
    if digits == 0 || !matches!(window[at], b',' | b']') {
        return None;
    }
    let v = value as f64 / POWERS[digits];
    Some(((if negative { -v } else { v }) as f32, at))
}

const ZEROS: u64 = 0x3030_3030_3030_3030;
const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The number that eight digits are, the first being the lowest byte: to pairs, to fours, to eight.
#[inline]
fn join(digits: u64) -> u64 {
    let pairs = (digits.wrapping_mul(2561) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(6_553_601) >> 16) & 0x0000_FFFF_0000_FFFF;
    fours.wrapping_mul(42_949_672_960_001) >> 32
}

/// The number that eight bytes stand for, if all are digits.
#[inline]
fn eight_digits(eight: u64) -> Option<u64> {
    // Neither a byte below '0' nor one above '9' keeps its upper half, alone and with six added.
    let upper = 0xF0F0_F0F0_F0F0_F0F0;
    let is_digits = (eight & upper) | ((eight.wrapping_add(0x0606_0606_0606_0606) & upper) >> 4);
    (is_digits == 0x3333_3333_3333_3333).then(|| join(eight ^ ZEROS))
}

/// Powers of ten, each as near as an `f64` comes: the numbers that serde_json has.
const POWERS: [f64; 64] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35,
    1e36, 1e37, 1e38, 1e39, 1e40, 1e41, 1e42, 1e43, 1e44, 1e45, 1e46, 1e47, 1e48, 1e49, 1e50, 1e51, 1e52,
    1e53, 1e54, 1e55, 1e56, 1e57, 1e58, 1e59, 1e60, 1e61, 1e62, 1e63,
];
