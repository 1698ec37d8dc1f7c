//! CBOR, in which ACT hands over arguments, metadata and the fields of credentials.

use serde_json::Value;

/// How deeply arguments may be nested: more than any schema here needs, and little enough for the stack.
const DEEPEST: usize = 32;

/// A value as JSON has it. Nothing for what is not CBOR, what JSON cannot say, and what is nested too deeply.
pub fn value(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEEPEST).ok()?;
    rest.is_empty().then_some(value)
}

/// A text.
pub fn text(bytes: &[u8]) -> Option<String> {
    match value(bytes)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The JSON text of arguments. ACT means an empty object by no bytes at all.
pub fn arguments(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() { Some("{}".to_owned()) } else { value(bytes).map(|it| it.to_string()) }
}

/// A truth value, encoded.
pub fn flag(flag: bool) -> Vec<u8> {
    // Section 3.3 of RFC 8949.
    vec![if flag { 0xf5 } else { 0xf4 }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_json_can_say_comes_through() {
        let value = json!({"a": [1, -2, 1.5, "ü\n", null, true], "b": {}, "most": u64::MAX, "least": i64::MIN});
        assert_eq!(serde_json::from_str::<Value>(&arguments(&encoded(&value)).unwrap()).unwrap(), value);
        assert_eq!(arguments(&[]).as_deref(), Some("{}"));
        assert_eq!(text(&encoded(&json!("default"))).as_deref(), Some("default"));
        assert_eq!((value_of_flag(true), value_of_flag(false)), (json!(true), json!(false)));
    }

    fn value_of_flag(it: bool) -> Value {
        value(&flag(it)).unwrap()
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        let bytes = [0x43, 1, 2, 3];
        let number_as_a_name = [0xa1, 0x01, 0x02];
        let cut_off = [0x82, 0x01];
        let two_values = [0x01, 0x02];
        let endless_text_cut_off = [0x7f, 0x61, b'a'];
        for refused in [&bytes[..], &number_as_a_name, &cut_off, &two_values, &endless_text_cut_off, &[0xff]] {
            assert_eq!(value(refused), None, "{refused:02x?}");
        }
        assert_eq!(text(&encoded(&json!(1))), None);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| [vec![0x81; depth], vec![0x01]].concat();
        assert!(value(&nested(DEEPEST - 1)).is_some());
        assert_eq!(value(&nested(DEEPEST + 1)), None);
        assert_eq!(value(&nested(1 << 20)), None);
    }
}
