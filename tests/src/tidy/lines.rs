//! Length of files and functions, words and calls that may not stand anywhere, module docs.

use crate::{files, report};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// Written by programs, or data.
const GENERATED: [&str; 5] =
    ["Cargo.lock", "package-lock.json", "crds/yaml/", "charts/quiver/templates/crds/", "tests/fixtures/"];
/// The only places where unsafe code may stand.
const UNSAFE: [&str; 13] = [
    "node/engine/src/bitset/ones",
    "node/engine/src/distance/",
    "node/engine/src/quantization/kernels",
    "node/engine/src/quantization/lines",
    "node/engine/src/quantization/rotation",
    "node/engine/src/quantization/sketch",
    "node/engine/src/hnsw/search",
    "node/engine/src/hnsw/build",
    "node/engine/src/hnsw/inline",
    "node/engine/src/hnsw/multi",
    "node/engine/src/file/mmap",
    "node/engine/src/file/hugepage",
    "node/engine/src/file/faults",
];

fn generated(path: &str) -> bool {
    GENERATED.iter().any(|g| path.starts_with(g) || path.ends_with(g))
}

fn code(path: &str) -> bool {
    [".rs", ".py", ".mjs", ".c", ".sh"].iter().any(|end| path.ends_with(end))
        || (path.starts_with("tests/") && !path.contains('.'))
}

#[test]
fn files_are_short() -> anyhow::Result<()> {
    let long = |(path, text): (String, String)| {
        let lines = text.lines().count();
        (code(&path) && !generated(&path) && lines > FILE_LINES_MAX)
            .then(|| format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"))
    };
    report(files()?.into_iter().filter_map(long).collect())
}

/// Functions of rustfmt's output: the name, the first line, the number of lines.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let mut words = line.split_whitespace().skip_while(|w| {
            ["pub", "const", "async", "unsafe", "extern", "\"C\""].contains(w) || w.starts_with("pub(")
        });
        if words.next() != Some("fn") {
            continue;
        }
        let name = words.next().unwrap_or_default().split(['(', '<']).next().unwrap_or_default();
        let close = format!("{}}}", " ".repeat(indent));
        // A declaration ends with a semicolon at its own depth; a body with a brace there.
        let end = lines[start..].iter().position(|l| {
            *l == close
                || (l.len() - l.trim_start().len() == indent && l.ends_with(';'))
                || (l.starts_with(&" ".repeat(indent)) && l.ends_with('}') && l.contains(" fn "))
        });
        found.push((name.to_owned(), start + 1, end.map_or(0, |e| e + 1)));
    }
    found
}

#[test]
fn functions_are_short() -> anyhow::Result<()> {
    let mut findings = Vec::new();
    for (path, text) in files()?.into_iter().filter(|(p, _)| p.ends_with(".rs")) {
        for (name, line, lines) in functions(&text).into_iter().filter(|f| f.2 > FUNCTION_LINES_MAX) {
            findings
                .push(format!("{path}:{line}: fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}"));
        }
    }
    report(findings)
}

#[test]
fn lengths_of_functions_are_seen() {
    let text = "fn one() {\n    x\n}\n\nimpl T {\n    pub async fn two(\n        a: u8,\n    ) {\n        y\n    }\n\n    fn three(&self);\n}\n";
    assert_eq!(functions(text), [("one".into(), 1, 3), ("two".into(), 6, 5), ("three".into(), 12, 1)]);
}

/// The part of a Rust file that its unit tests are; whole files of tests elsewhere.
fn test_lines<'a>(path: &str, text: &'a str) -> Vec<(usize, &'a str)> {
    let all = text.lines().enumerate().map(|(i, l)| (i + 1, l));
    if path.starts_with("tests/src/") || path.contains("/tests/") || path.ends_with("tests.rs") {
        return all.collect();
    }
    all.skip_while(|(_, l)| !l.starts_with("#[cfg(test)]")).collect()
}

#[test]
fn tests_wait_for_conditions_and_are_never_left_out() -> anyhow::Result<()> {
    let mut findings = Vec::new();
    // Spelt in two halves, so that this file doesn't find itself. The harness and the cluster's own tools wait for others.
    let (sleep, ignore) = (["slee", "p("].concat(), ["#[ign", "ore"].concat());
    for (path, text) in files()? {
        if !(path.ends_with(".rs") || path.ends_with(".py")) || path.starts_with("tests/src/harness/") {
            continue;
        }
        for (line, content) in test_lines(&path, &text) {
            if content.contains(&sleep) {
                findings.push(format!("{path}:{line}: a test sleeps; wait for a condition with a deadline"));
            }
            if content.contains(&ignore) {
                findings.push(format!("{path}:{line}: a test is left out"));
            }
        }
    }
    report(findings)
}

#[test]
fn nothing_is_left_to_do_in_comments() -> anyhow::Result<()> {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat(), ["HA", "CK"].concat()];
    let mut findings = Vec::new();
    for (path, text) in files()?.into_iter().filter(|(p, _)| code(p) && !generated(p)) {
        for (i, line) in text.lines().enumerate() {
            let told = line.split(|c: char| !c.is_alphanumeric()).any(|w| words.iter().any(|word| w == word));
            if told && !line.contains("http") {
                findings.push(format!("{path}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    report(findings)
}

#[test]
fn no_match_is_asked_for_and_thrown_away() -> anyhow::Result<()> {
    let start = ["match", "es!("].concat();
    let mut findings = Vec::new();
    for (path, text) in files()?.into_iter().filter(|(p, _)| p.ends_with(".rs")) {
        for (i, line) in text.lines().enumerate() {
            if line.trim_start().starts_with(&start) && line.ends_with(");") {
                findings.push(format!("{path}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    report(findings)
}

#[test]
fn every_module_says_what_it_is_for() -> anyhow::Result<()> {
    let mut findings = Vec::new();
    for (path, text) in files()? {
        let first = text.lines().find(|l| !l.starts_with("#!/") && !l.trim().is_empty()).unwrap_or_default();
        let told = match path.rsplit('.').next() {
            Some("rs") => first.starts_with("//!"),
            Some("py") => text.is_empty() || first.starts_with("\"\"\""),
            _ => true,
        };
        if !told {
            findings.push(format!("{path}: no module doc"));
        }
    }
    report(findings)
}

#[test]
fn unsafe_stands_only_where_it_may() -> anyhow::Result<()> {
    let word = ["uns", "afe"].concat();
    let mut findings = Vec::new();
    for (path, text) in files()?.into_iter().filter(|(p, _)| p.ends_with(".rs")) {
        if UNSAFE.iter().any(|u| path.starts_with(u)) {
            continue;
        }
        for (i, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains(&format!("{word} {{"))
                || code.contains(&format!("{word} fn"))
                || code.contains(&format!("{word} impl"))
            {
                findings.push(format!("{path}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    report(findings)
}

#[test]
fn no_place_of_one_machine_or_registry_is_named() -> anyhow::Result<()> {
    let halves = [
        ("/wo", "rk/"),
        ("/tmp/", "bg"),
        ("/ro", "ot/"),
        ("../sha", "red"),
        ("py", "pi.org"),
        ("pythonhosted", ".org"),
        ("npmjs", ".org"),
        ("proxy.gol", "ang.org"),
        ("registry.k8s", ".io"),
        ("index.crates", ".io"),
        ("deb.deb", "ian.org"),
    ];
    let banned: Vec<String> = halves.iter().map(|(a, b)| format!("{a}{b}")).collect();
    let mut findings = Vec::new();
    for (path, text) in
        files()?.into_iter().filter(|(p, _)| !p.ends_with("Cargo.lock") && !p.starts_with("tests/fixtures/"))
    {
        for (i, line) in text.lines().enumerate() {
            findings.extend(
                banned.iter().filter(|b| line.contains(*b)).map(|b| format!("{path}:{}: names {b}", i + 1)),
            );
        }
    }
    report(findings)
}

#[test]
fn top_level_is_what_the_readme_shows() -> anyhow::Result<()> {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "charts",
        "crds",
        "docs",
        "node",
        "operator",
        "tests",
    ];
    let tops: std::collections::BTreeSet<String> =
        files()?.into_iter().map(|(p, _)| p.split('/').next().unwrap_or_default().to_owned()).collect();
    report(
        tops.into_iter()
            .filter(|t| !t.starts_with('.') && !allowed.contains(&t.as_str()))
            .map(|t| format!("{t} does not belong at the top"))
            .collect(),
    )
}
