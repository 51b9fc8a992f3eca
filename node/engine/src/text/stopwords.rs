//! Lists of stop words by language: those of NLTK, kept by the crate `stop-words`.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

type List = HashSet<&'static str>;

/// The protocol's name of each language, and the code that the crate has its list under.
const CODES: [(&str, &str); 29] = [
    ("arabic", "ar"),
    ("azerbaijani", "az"),
    ("basque", "eu"),
    ("bengali", "bn"),
    ("catalan", "ca"),
    ("chinese", "zh"),
    ("danish", "da"),
    ("dutch", "nl"),
    ("english", "en"),
    ("finnish", "fi"),
    ("french", "fr"),
    ("german", "de"),
    ("greek", "el"),
    ("hebrew", "he"),
    ("hinglish", "hinglish"),
    ("hungarian", "hu"),
    ("indonesian", "id"),
    ("italian", "it"),
    ("kazakh", "kk"),
    ("nepali", "ne"),
    ("norwegian", "no"),
    ("portuguese", "pt"),
    ("romanian", "ro"),
    ("russian", "ru"),
    ("slovene", "sl"),
    ("spanish", "es"),
    ("swedish", "sv"),
    ("tajik", "tg"),
    ("turkish", "tr"),
];

/// The crate has none of this language.
const JAPANESE: &str = "の に は を た が で て と し れ さ ある いる も する から な こと として い や れる など なっ ない この ため その あっ よう また \
もの という あり まで られ なる へ か だ これ によって により おり より による ず なり られる において ば なかっ なく しかし について せ だっ その後 できる それ";

static LISTS: LazyLock<HashMap<&'static str, List>> = LazyLock::new(|| {
    let mut lists: HashMap<&str, List> = CODES
        .iter()
        .filter_map(|(name, code)| Some((*name, stop_words::lookup(code)?.iter().copied().collect())))
        .collect();
    lists.insert("japanese", JAPANESE.split_whitespace().collect());
    lists
});

/// A language's list; none of a language that has none.
pub(super) fn list(language: &str) -> Option<&'static List> {
    LISTS.get(language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_of_the_protocol_has_a_list() {
        assert_eq!(LISTS.len(), CODES.len() + 1);
        assert!(LISTS.values().all(|list| list.len() > 10));
        assert!(list("english").is_some_and(|list| list.contains("the") && !list.contains("vector")));
        assert!(list("german").is_some_and(|list| list.contains("für")));
        assert_eq!(list("klingon"), None);
    }
}
