//! What a PromQL expression names: metrics, the labels asked of each, and the labels it groups by. Reads
//! tokens only; whether an expression is right is Prometheus' to say.

use std::collections::BTreeSet;

/// One selector: `metric{label="value", …}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    /// Each label, and its value where that must be equal.
    pub(crate) labels: Vec<(String, Option<String>)>,
}

/// What an expression names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) selectors: Vec<Selector>,
    /// Labels in `by (…)`, `on (…)` and the like.
    pub(crate) grouping: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

const OPERATORS: &[&str] = &["and", "or", "unless", "bool", "offset"];
const GROUPING: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Reads one expression.
pub(crate) fn names(expression: &str) -> Names {
    let tokens = tokens(expression);
    let mut names = Names::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let next = tokens.get(at + 1);
        at += 1;
        match token {
            Token::Sign('[') => at = after(&tokens, at, ']'),
            Token::Sign('{') => {
                let end = after(&tokens, at, '}');
                names.selectors.last_mut().unwrap().labels = matchers(&tokens[at..end - 1]);
                at = end;
            }
            Token::Word(word) if GROUPING.contains(&word.as_str()) => {
                let end = after(&tokens, at, ')');
                let words = tokens[at..end].iter().filter_map(|token| match token {
                    Token::Word(word) => Some(word.clone()),
                    _ => None,
                });
                names.grouping.extend(words);
                at = end;
            }
            Token::Word(word) => {
                let is_function = next == Some(&Token::Sign('('))
                    || matches!(next, Some(Token::Word(next)) if GROUPING.contains(&next.as_str()));
                if !is_function && !OPERATORS.contains(&word.as_str()) {
                    let metric = word.clone();
                    names.selectors.push(Selector { metric, labels: Vec::new() });
                }
            }
            Token::Text(_) | Token::Sign(_) => (),
        }
    }
    names
}

/// The place behind the next `sign`.
fn after(tokens: &[Token], from: usize, sign: char) -> usize {
    let found = tokens[from..].iter().position(|token| *token == Token::Sign(sign));
    from + found.unwrap_or_else(|| panic!("no {sign} in {tokens:?}")) + 1
}

/// `label="value", …`
fn matchers(tokens: &[Token]) -> Vec<(String, Option<String>)> {
    tokens
        .split(|token| *token == Token::Sign(','))
        .map(|one| match one {
            [Token::Word(label), Token::Sign('='), Token::Text(value)] => {
                (label.clone(), Some(value.clone()).filter(|value| !value.is_empty()))
            }
            [Token::Word(label), Token::Sign(_), .., Token::Text(_)] => (label.clone(), None),
            _ => panic!("no matcher: {one:?}"),
        })
        .collect()
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let length = if first == '"' {
            let end = rest[1..].find('"').expect("a closing quote");
            found.push(Token::Text(rest[1..=end].to_owned()));
            end + 2
        } else if first.is_ascii_digit() {
            // A number, or a duration.
            rest.find(|c: char| !is_word(c) && c != '.').unwrap_or(rest.len())
        } else if is_word(first) {
            let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            found.push(Token::Word(rest[..end].to_owned()));
            end
        } else {
            if !first.is_whitespace() {
                found.push(Token::Sign(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

#[test]
fn an_expression_names_metrics_labels_and_groups() {
    let read = names(
        r#"sum by (le, a) (rate(m_bucket{b="x", c=~"y|z", d!=""}[5m])) / on (e) (n > 0.5) or absent(up{job="j"})"#,
    );
    let selector = |metric: &str, labels: &[(&str, Option<&str>)]| Selector {
        metric: metric.to_owned(),
        labels: labels.iter().map(|&(name, it)| (name.to_owned(), it.map(str::to_owned))).collect(),
    };
    let expected = [
        selector("m_bucket", &[("b", Some("x")), ("c", None), ("d", None)]),
        selector("n", &[]),
        selector("up", &[("job", Some("j"))]),
    ];
    assert_eq!(read.selectors, expected);
    assert_eq!(read.grouping, BTreeSet::from(["le", "a", "e"].map(str::to_owned)));
}
