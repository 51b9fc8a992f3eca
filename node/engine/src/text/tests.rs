//! Tokens by parameters, and what is found by them.

use proptest::prelude::*;

use super::*;

fn check_tokens(params: TextParams, text: &str, document: &[&str], query: &[&str]) {
    let analyzer = Analyzer::new(&params);
    let mut tokens = Vec::new();
    analyzer.document(text, &mut |token| tokens.push(token.to_owned()));
    assert_eq!(tokens, document, "{params:?} of the document {text:?}");
    assert_eq!(analyzer.query(text), query, "{params:?} of the query {text:?}");
}

fn check_same(params: TextParams, text: &str, tokens: &[&str]) {
    check_tokens(params, text, tokens, tokens);
}

fn of(tokenizer: Tokenizer) -> TextParams {
    TextParams { tokenizer: Some(tokenizer), ..TextParams::default() }
}

#[test]
fn tokenizers_cut_where_they_should() {
    let text = "Hello, World-Wide web_2 ÄRGER  don't";
    check_same(TextParams::default(), text, &["hello", "world", "wide", "web", "2", "ärger", "don", "t"]);
    check_same(of(Tokenizer::Whitespace), text, &["hello,", "world-wide", "web_2", "ärger", "don't"]);
    check_same(of(Tokenizer::Multilingual), text, &["hello", "world", "wide", "web_2", "ärger", "don't"]);
    check_same(of(Tokenizer::Multilingual), "本日は晴天", &["本", "日", "は", "晴", "天"]);
    let prefix = TextParams { max_token_len: Some(4), min_token_len: Some(2), ..of(Tokenizer::Prefix) };
    check_tokens(prefix, "Hello, мир a!", &["he", "hel", "hell", "ми", "мир"], &["hell", "мир"]);
    check_tokens(of(Tokenizer::Prefix), "abc", &["a", "ab", "abc"], &["abc"]);
    check_same(TextParams::default(), " ,.- ", &[]);
    let (mut prefixes, endless) = (0, "x".repeat(100_000));
    Analyzer::new(&of(Tokenizer::Prefix)).document(&endless, &mut |_| prefixes += 1);
    assert_eq!(prefixes, 256);
    assert_eq!(Analyzer::new(&of(Tokenizer::Prefix)).query(&endless), ["x".repeat(256)]);
}

#[test]
fn tokens_are_changed_and_left_out_as_asked() {
    let word = TextParams::default;
    check_same(TextParams { lowercase: Some(false), ..word() }, "The Fox", &["The", "Fox"]);
    let folded = TextParams { ascii_folding: Some(true), ..word() };
    check_same(folded, "Ação Straße Łódź ﬁn ½", &["acao", "strasse", "lodz", "fin", "1⁄2"]);
    let lengths = TextParams { min_token_len: Some(2), max_token_len: Some(4), ..word() };
    check_same(lengths, "a äö abcd abcde", &["äö", "abcd"]);
    let english = Some(Stopwords::Language("english".to_owned()));
    let stemmer = Some(Stemmer::Snowball("english".to_owned()));
    let both = TextParams { stopwords: english, stemmer, ..word() };
    check_same(both, "The foxes are running", &["fox", "run"]);
    let set = Stopwords::Set {
        languages: Some(vec!["german".into(), "english".into()]),
        custom: Some(vec!["FOX".into()]),
    };
    check_same(TextParams { stopwords: Some(set), ..word() }, "the fox und der dog", &["dog"]);
    check_same(TextParams { stemmer: Some(Stemmer::None), ..word() }, "running", &["running"]);
    let set = Stopwords::Set { languages: None, custom: Some(vec!["für".into()]) };
    check_same(
        TextParams { stopwords: Some(set), ascii_folding: Some(true), ..word() },
        "Für Elise",
        &["elise"],
    );
}

#[test]
fn texts_are_found_by_all_any_or_a_phrase() {
    let check = |how, query: &str, text: &str, expected| {
        assert_eq!(
            TextTest::new(query.to_owned(), how).passes(text),
            expected,
            "{how:?} {query:?} in {text:?}"
        );
    };
    for (query, text, all, any, phrase) in [
        ("red car", "a RED, car", true, true, true),
        ("car red", "a red car", true, true, false),
        ("car blue", "a red car", false, true, false),
        ("ca", "a red car", false, false, false),
        ("red red", "red", true, true, false),
        ("red red", "a red red car", true, true, true),
        ("", "a", false, false, false),
        ("!", "!", false, false, false),
        ("a", "", false, false, false),
    ] {
        check(TextMatch::All, query, text, all);
        check(TextMatch::Any, query, text, any);
        check(TextMatch::Phrase, query, text, phrase);
    }
}

#[test]
fn phrases_need_an_index_that_was_asked_for_them() {
    let test = TextTest::new("red car".to_owned(), TextMatch::Phrase);
    let without = test.bound_to(&TextParams::default()).expect("other parameters");
    assert!(test.passes("red car") && !without.passes("red car"));
    assert_eq!(test.bound_to(&TextParams::unindexed()), None);
}

/// Every language that the protocol names.
const STEMMERS: [&str; 19] = [
    "arabic",
    "armenian",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
];

#[test]
fn every_language_of_the_protocol_has_a_stemmer() {
    for language in STEMMERS {
        assert!(waken_snowball::Algorithm::from_str(language).is_some(), "{language}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,12}|[a-z'äöüßéèñ]{0,14}|[ا-ي]{0,9}|[а-я]{0,12}|[α-ω]{0,12}|[அ-ஹ]{0,9}|[ա-ֆ]{0,9}") {
        for language in STEMMERS {
            let stemmer = Some(Stemmer::Snowball(language.to_owned()));
            let params = TextParams { stemmer, ascii_folding: Some(false), ..TextParams::default() };
            Analyzer::new(&params).query(&text);
        }
    }

    #[test]
    fn a_text_is_found_by_itself(text in "[a-zA-Z äÖß0-9.,]{0,30}", folding in any::<bool>()) {
        let params = TextParams { ascii_folding: Some(folding), phrase_matching: Some(true), ..TextParams::default() };
        for how in [TextMatch::All, TextMatch::Any, TextMatch::Phrase] {
            let test = TextTest::new(text.clone(), how);
            let test = test.bound_to(&params).unwrap_or(test);
            prop_assert_eq!(test.passes(&text), text.chars().any(char::is_alphanumeric));
        }
    }
}
