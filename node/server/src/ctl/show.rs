//! Answers of the admin address as tables for people.

use std::fmt::Write as _;

use serde_json::Value;

/// A cell: text as it is, but for what would move the cursor; everything else as JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // Users choose names: a terminal must not obey them.
        Value::String(text) => text
            .chars()
            .flat_map(|c| {
                let plain = (!c.is_control()).then_some(c);
                let escaped = plain.is_none().then(|| c.escape_default());
                plain.into_iter().chain(escaped.into_iter().flatten())
            })
            .collect(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Columns as wide as their widest cell.
fn table(out: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    let width = |at: usize, head: &str| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([head.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(at, head)| width(at, head))
        .collect();
    let mut line = |cells: &[String]| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(
        &heads
            .iter()
            .map(|head| (*head).to_owned())
            .collect::<Vec<_>>(),
    );
    for row in rows {
        line(row);
    }
}

fn rows(items: &[Value], keys: &[&str]) -> Vec<Vec<String>> {
    let row = |item: &Value| keys.iter().map(|key| cell(&item[*key])).collect();
    items.iter().map(row).collect()
}

pub(super) fn members(answer: &Value) -> String {
    let mut out = String::new();
    let members = list(answer, "members");
    let mut shown = rows(
        members,
        &["name", "dialect", "mesh", "client", "incarnation"],
    );
    for (row, member) in shown.iter_mut().zip(members) {
        if member["this"] == true {
            row[0] += " *";
        }
    }
    table(
        &mut out,
        &["NAME", "DIALECT", "MESH", "CLIENT", "INCARNATION"],
        &shown,
    );
    for conflict in list(answer, "conflicts") {
        let (name, holder) = (cell(&conflict["name"]), cell(&conflict["holder"]));
        let _ = writeln!(out, "name conflict: {holder} is also called {name}");
    }
    out
}

pub(super) fn links(answer: &Value) -> String {
    let mut out = String::new();
    let links = list(answer, "links");
    let ms = |rtt: &Value| {
        rtt.as_f64()
            .map_or("-".to_owned(), |rtt| format!("{rtt:.3}"))
    };
    let row = |link: &Value| {
        let up = if link["up"] == true { "up" } else { "down" };
        let mut row = vec![
            cell(&link["sibling"]),
            cell(&link["dialect"]),
            up.to_owned(),
            ms(&link["rtt_ms"]),
            ms(&link["rtt_of_sibling_ms"]),
        ];
        let figures = [
            "queue_bytes",
            "window_bytes",
            "bytes_sent",
            "bytes_received",
            "publications_sent",
            "publications_lost",
            "resumes",
        ];
        row.extend(figures.iter().map(|figure| cell(&link[figure])));
        row
    };
    let rows: Vec<Vec<String>> = links.iter().map(row).collect();
    table(
        &mut out,
        &[
            "SIBLING",
            "DIALECT",
            "LINK",
            "RTT_MS",
            "BACK_MS",
            "QUEUE",
            "WINDOW",
            "BYTES_OUT",
            "BYTES_IN",
            "SENT",
            "LOST",
            "RESUMES",
        ],
        &rows,
    );
    out
}

pub(super) fn users(answer: &Value) -> String {
    let mut out = format!(
        "{} users, {} on this node\n",
        cell(&answer["count"]),
        cell(&answer["here"])
    );
    if answer.get("users").is_some() {
        table(
            &mut out,
            &["USER", "NODES"],
            &rows(list(answer, "users"), &["user", "nodes"]),
        );
    }
    if answer["more"] == true {
        out += "there are more: use --limit or --filter\n";
    }
    out
}

pub(super) fn interest(answer: &Value) -> String {
    let mut out = String::new();
    let siblings = list(answer, "siblings").iter();
    let siblings = siblings.map(|wanted| (cell(&wanted["sibling"]), wanted));
    let own = (format!("{} *", cell(&answer["node"])), &answer["own"]);
    let mut shown = Vec::new();
    for (node, wanted) in std::iter::once(own).chain(siblings) {
        let _ = writeln!(out, "{node} wants {} channels", cell(&wanted["count"]));
        shown.extend(
            list(wanted, "channels")
                .iter()
                .map(|channel| vec![node.clone(), cell(channel)]),
        );
    }
    if !shown.is_empty() {
        table(&mut out, &["NODE", "CHANNEL"], &shown);
    }
    out
}

pub(super) fn objects(answer: &Value) -> String {
    let mut out = String::new();
    let mut shown = Vec::new();
    for object in list(answer, "objects") {
        for part in list(object, "parts") {
            let mut row = vec![cell(&object["name"]), cell(&object["kind"])];
            let figures = ["node", "entries", "bytes", "version"];
            row.extend(figures.iter().map(|figure| cell(&part[figure])));
            let state = if part["behind"] == true {
                "behind"
            } else {
                "whole"
            };
            row.push(state.to_owned());
            shown.push(row);
        }
    }
    let heads = [
        "OBJECT", "KIND", "NODE", "ENTRIES", "BYTES", "VERSION", "STATE",
    ];
    table(&mut out, &heads, &shown);
    out
}

pub(super) fn status(answer: &Value) -> String {
    let mut out = String::new();
    let ready = &answer["readiness"];
    let _ = writeln!(
        out,
        "{} ({}) is {}",
        cell(&answer["node"]),
        cell(&answer["version"]),
        if ready["ready"] == true {
            "ready"
        } else {
            "not ready"
        }
    );
    for reason in list(ready, "reasons") {
        let _ = writeln!(
            out,
            "  {}: {}",
            cell(&reason["reason"]),
            cell(&reason["detail"])
        );
    }
    for key in ["sessions", "channels", "subscriptions", "mesh_secrets"] {
        let _ = writeln!(out, "{key}: {}", cell(&answer[key]));
    }
    let nodes = list(answer, "nodes");
    table(
        &mut out,
        &["NODE", "CLIENT", "SESSIONS", "USERS"],
        &rows(nodes, &["name", "url", "sessions", "users"]),
    );
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_and_terminals_are_safe() {
        let answer = json!({
            "count": 2, "here": 1, "more": true,
            "users": [
                { "user": "alice", "nodes": ["one", "two"] },
                { "user": "e\u{1b}[2Jvil", "nodes": ["one"] },
            ],
        });
        assert_eq!(
            users(&answer),
            "2 users, 1 on this node\n\
             USER           NODES\n\
             alice          one, two\n\
             e\\u{1b}[2Jvil  one\n\
             there are more: use --limit or --filter\n"
        );
        assert_eq!(
            users(&json!({ "count": 0, "here": 0 })),
            "0 users, 0 on this node\n"
        );
    }

    #[test]
    fn what_is_missing_is_shown_as_such() {
        let answer = json!({ "links": [{ "sibling": "two", "dialect": "native", "up": false, "rtt_ms": null, "rtt_of_sibling_ms": 0.25,
            "queue_bytes": 0, "window_bytes": 9, "bytes_sent": 100, "bytes_received": 50, "publications_sent": 7,
            "publications_lost": 1, "resumes": 2 }] });
        assert_eq!(
            links(&answer),
            "SIBLING  DIALECT  LINK  RTT_MS  BACK_MS  QUEUE  WINDOW  BYTES_OUT  BYTES_IN  SENT  LOST  RESUMES\n\
             two      native   down  -       0.250    0      9       100        50        7     1     2\n"
        );
        let answer = json!({ "objects": [{ "name": "prices", "kind": "map", "parts": [
            { "node": "one", "entries": 2, "bytes": 15, "version": 3, "behind": false },
            { "node": "two", "entries": 0, "bytes": 2, "version": 1, "behind": true } ] }] });
        assert_eq!(
            objects(&answer),
            "OBJECT  KIND  NODE  ENTRIES  BYTES  VERSION  STATE\n\
             prices  map   one   2        15     3        whole\n\
             prices  map   two   0        2      1        behind\n"
        );
        for odd in [json!(null), json!({ "links": 5 })] {
            for show in [members, links, users, interest, objects, status] {
                assert!(!show(&odd).is_empty());
            }
        }
    }
}
