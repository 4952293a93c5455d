use super::*;
use proptest::prelude::*;
use serde_json::Value;

const DEPTH: usize = 100;

fn accepts(text: &str) -> bool {
    Json::validate(text, DEPTH).is_ok()
}

/// As serde_json reads it without making anything of it: half a surrogate pair and a huge number are in the grammar.
fn grammatical(text: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

#[test]
fn grammar_corners_agree_with_serde_json() {
    for text in [
        "",
        " ",
        "null",
        "nul",
        "nulll",
        "true",
        "tru",
        "false",
        "0",
        "-0",
        "-",
        "01",
        "-01",
        "1.",
        ".5",
        "1.5",
        "1e5",
        "1e",
        "1E+5",
        "1e-",
        "1.5e3",
        "+1",
        "--1",
        "0x1",
        "1 2",
        "NaN",
        "\"\"",
        "\"a",
        "a\"",
        "\"\\\"",
        "\"\\\\\"",
        "\"\\/\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u1234\"",
        "\"\\uD800\"",
        "\"\\uDC00\"",
        "\"\\uD800\\uDC00\"",
        "\"\\uD800\\u0041\"",
        "\"\\uD83D\\uDE00x\"",
        "\"\\uD800x\"",
        "\"\u{1}\"",
        "\"\n\"",
        "\"\u{7f}\"",
        "\"é漢😀\"",
        "\"12345678\u{1f}\"",
        "\"1234567\\\"\"",
        "[]",
        "[",
        "]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1,2]",
        "[1}",
        "{}",
        "{",
        "}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1]",
        "{\"a\":[{\"b\":[]}]}",
        "[[],{},[{}]]",
        " [ 1 , 2 ] ",
        "[1]x",
        "\u{feff}[]",
        "[\u{a0}1]",
        "{\"a\":1,\"a\":2}",
        "{1:2}",
        "[null]",
    ] {
        assert_eq!(accepts(text), grammatical(text), "{text:?}");
    }
}

#[test]
fn deep_nesting_takes_no_stack() {
    let deep = 100_000;
    let array = "[".repeat(deep) + &"]".repeat(deep);
    let object = "{\"a\":".repeat(deep) + "1" + &"}".repeat(deep);
    for text in [&array, &object] {
        assert_eq!(
            Json::validate(text, 64),
            Err(ScanError::TooDeep { max_depth: 64 })
        );
        assert_eq!(
            Json::validate(text, deep - 1),
            Err(ScanError::TooDeep {
                max_depth: deep - 1
            })
        );
        assert!(Json::validate(text, deep).is_ok());
        assert!(Json::validate(&text[..text.len() - 1], deep).is_err());
    }
    assert!(matches!(
        scan_frame(&array, 64, 10),
        Err(ScanError::TooDeep { .. })
    ));
    assert!(matches!(
        scan_frame(&object, 64, 10),
        Err(ScanError::TooDeep { .. })
    ));
}

#[test]
fn depth_counts_arrays_and_objects_of_the_frame() {
    let frame = r#"[{"data":[[]]}]"#;
    assert!(scan_frame(frame, 4, 1).is_ok());
    assert_eq!(
        scan_frame(frame, 3, 1).unwrap_err(),
        ScanError::TooDeep { max_depth: 3 }
    );
    assert!(scan_frame(r#"{"data":[[]]}"#, 3, 1).is_ok());
}

#[test]
fn fields_are_slices_of_the_frame() {
    let text = r#" [ {"channel":"\/chat", "data" : {"a":[1.50, "x"]} ,"id":7,"clientId":"c","ext":{},"advice":{"timeout":0},"subscription":["/a"],"other":null} , {} ] "#;
    let messages = scan_frame(text, 16, 2).unwrap();
    let message = &messages[0];
    assert_eq!(message.channel, Some(r#""\/chat""#));
    assert_eq!(message.channel.and_then(decode_string).unwrap(), "/chat");
    assert_eq!(message.data, Some(r#"{"a":[1.50, "x"]}"#));
    assert_eq!(message.id, Some("7"));
    assert_eq!(message.client_id, Some("\"c\""));
    assert_eq!(message.ext, Some("{}"));
    assert_eq!(message.advice, Some(r#"{"timeout":0}"#));
    assert_eq!(message.subscription, Some(r#"["/a"]"#));
    assert!(message.object.starts_with("{\"channel\"") && message.object.ends_with("null}"));
    assert_eq!(messages[1].object, "{}");
    let data = message.data.unwrap().as_ptr() as usize;
    let range = text.as_bytes().as_ptr_range();
    assert!(
        (range.start as usize..range.end as usize).contains(&data),
        "borrowed, not copied"
    );
}

#[test]
fn shape_errors_are_told_from_syntax_errors() {
    for (text, error) in [
        ("[]", ScanError::Empty),
        ("[1]", ScanError::NotAnObject),
        ("null", ScanError::NotAnObject),
        ("\"x\"", ScanError::NotAnObject),
        ("[{},[]]", ScanError::NotAnObject),
        (
            r#"{"channel":"/a","channel":"/b"}"#,
            ScanError::DuplicateField { field: "channel" },
        ),
        (
            r#"{"id":1,"\u0069d":2}"#,
            ScanError::DuplicateField { field: "id" },
        ),
        ("[1", ScanError::Syntax { at: 2 }),
        ("", ScanError::Syntax { at: 0 }),
        ("[{}]x", ScanError::Syntax { at: 4 }),
        ("[{},]", ScanError::Syntax { at: 4 }),
    ] {
        assert_eq!(scan_frame(text, 8, 8).unwrap_err(), error, "{text}");
    }
    assert!(scan_frame(r#"{"unknown":1,"unknown":2}"#, 8, 8).is_ok());
    assert_eq!(
        scan_frame("[{},{},{}]", 8, 2).unwrap_err(),
        ScanError::TooManyMessages { max: 2 }
    );
}

#[test]
fn members_and_elements_of_small_values() {
    let pairs = members(r#"{ "a" : 1 ,"b":{"c":[]}, "\u0064":"x"}"#);
    let pairs: Vec<_> = pairs.iter().map(|(k, v)| (&**k, *v)).collect();
    assert_eq!(pairs, [("a", "1"), ("b", r#"{"c":[]}"#), ("d", "\"x\"")]);
    assert!(members("{}").is_empty());
    assert_eq!(
        elements(r#"[ "/a" ,2,[3]]"#).unwrap(),
        ["\"/a\"", "2", "[3]"]
    );
    assert_eq!(elements("[ ]").unwrap(), Vec::<&str>::new());
    assert_eq!(elements("\"/a\""), None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Fragments that, put together at random, are often nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"",
        "\\",
        "\\u",
        "D800",
        "\\uD83D\\uDE00",
        "0",
        "1",
        "-",
        ".",
        "e",
        "E+",
        "12",
        "true",
        "null",
        "fals",
        " ",
        "\n",
        "\t",
        "\u{1}",
        "é",
        "\"\\n\"",
        "\"b\":",
        "[]",
        "{}",
        "\"c\":1",
        "\"longer than eight bytes\"",
    ]);
    prop::collection::vec(fragment, 0..14).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn accepts_what_serde_json_accepts(text in nearly_json()) {
        prop_assert_eq!(accepts(&text), grammatical(&text));
    }

    #[test]
    fn accepts_and_damages_like_serde_json(value in any_json(), at in any::<prop::sample::Index>(), put in prop::sample::select(vec!["", "\"", "{", "]", ",", "\\", "0", "e", " ", "\u{2}"])) {
        let text = value.to_string();
        prop_assert!(accepts(&text));
        // One character replaced by a fragment.
        let chars: Vec<char> = text.chars().collect();
        let n = at.index(chars.len());
        let damaged: String = chars[..n].iter().collect::<String>() + put + &chars[n + 1..].iter().collect::<String>();
        prop_assert_eq!(accepts(&damaged), grammatical(&damaged), "{}", damaged);
    }

    #[test]
    fn data_is_relayed_to_the_letter(value in any_json(), pad in "[ \t\n]{0,3}", pretty in any::<bool>()) {
        let data = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let text = format!("[{{\"id\":\"1\",\"data\":{pad}{data}{pad},\"channel\":\"/a\"}}]");
        let messages = scan_frame(&text, DEPTH, 1).unwrap();
        prop_assert_eq!(messages[0].data, Some(&*data));
        let relayed: Vec<_> = messages[0].relayed().collect();
        let expected = format!("\"data\":{pad}{data}{pad},\"channel\":\"/a\"");
        prop_assert_eq!(relayed, [expected.as_str()]);
    }

    #[test]
    fn strings_decode_like_serde_json(text in ".{0,30}", escape_all in any::<bool>()) {
        let raw = if escape_all {
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{units}\"")
        } else {
            serde_json::to_string(&text).unwrap()
        };
        prop_assert_eq!(decode_string(&raw).unwrap(), &*text);
        let mut written = Vec::new();
        write_string(&mut written, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), text);
    }
}

#[test]
fn half_a_surrogate_pair_is_relayed_and_reads_as_the_replacement_character() {
    let message = r#"[{"channel":"/a","data":"cut \ud83d","id":"\ude00"}]"#;
    let messages = scan_frame(message, DEPTH, 1).unwrap();
    assert_eq!(messages[0].data, Some(r#""cut \ud83d""#));
    for (raw, text) in [
        (r#""\ud83dx""#, "\u{fffd}x"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ud83d""#, "\u{fffd}"),
    ] {
        assert_eq!(decode_string(raw).unwrap(), text);
    }
}
