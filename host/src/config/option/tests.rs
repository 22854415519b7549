use serde_json::json;

use super::*;

fn set(key: &str, value: &Value) -> Result<AppOptions, OptionError> {
    let mut options = AppOptions::default();
    options.set(key, value, Path::new("/srv"))?;
    Ok(options)
}

#[test]
fn every_key_can_be_set() {
    for key in KEYS {
        let values = [
            json!("manual"),
            json!(true),
            json!("3s"),
            json!(7),
            json!("5M"),
            json!(["a/**"]),
            json!("/x"),
            json!(""),
        ];
        let set = values.iter().any(|value| set(key, value).is_ok());
        assert!(set, "{key}");
    }
    assert_eq!(
        set("drain", &json!("250ms")).unwrap().drain.as_millis(),
        250
    );
    assert_eq!(set("guard", &json!(0)).unwrap().guard, Duration::ZERO);
    assert_eq!(
        set("state-limit", &json!("1M")).unwrap().state_limit,
        1 << 20
    );
    assert_eq!(
        set("track", &json!("t/*.html")).unwrap().track,
        ["/srv/t/*.html"]
    );
    let globs = json!(["./t/*", "../all/**", "/abs/*"]);
    assert_eq!(
        set("track", &globs).unwrap().track,
        ["/srv/t/*", "/all/**", "/abs/*"]
    );
    let odd = globset::escape("/a[b]");
    let mut options = AppOptions::default();
    options
        .set("track", &json!("*"), Path::new("/a[b]"))
        .unwrap();
    assert_eq!(options.track, [format!("{odd}/*")]);
    assert_eq!(set("probe", &json!("")).unwrap().probe, None);
}

#[test]
fn what_is_wrong_is_named_with_what_is_right() {
    let check = |key: &str, value: Value, text: &str| {
        assert_eq!(set(key, &value).unwrap_err().to_string(), text);
    };
    check(
        "drian",
        json!(1),
        "unknown key `drian`; did you mean `drain`?",
    );
    check("colour", json!(1), "unknown key `colour`");
    check(
        "drain",
        json!(30),
        "`drain` is `30`; it must be a time with its unit, as in \"250ms\" or \"10s\"",
    );
    check(
        "reload",
        json!("lazy"),
        "`reload` is `\"lazy\"`; it must be \"eager\", \"on-request\" or \"manual\"",
    );
    check(
        "preload",
        json!("yes"),
        "`preload` is `\"yes\"`; it must be true or false",
    );
    check(
        "poll",
        json!("1ms"),
        "`poll` is `\"1ms\"`; it must be \"0s\" (never), or from \"10ms\"",
    );
    check(
        "drain",
        json!("200000000000years"),
        "`drain` is `\"200000000000years\"`; it must be ten years at most",
    );
    check(
        "setup-timeout",
        json!(0),
        "`setup-timeout` is `0`; it must be more than zero: nothing ends in no time",
    );
    check(
        "max-waiting",
        json!(0),
        "`max-waiting` is `0`; it must be a whole number from 1",
    );
    check(
        "preload",
        json!("x".repeat(1_000)),
        &format!(
            "`preload` is `\"{}…`; it must be true or false",
            "x".repeat(59)
        ),
    );
    check(
        "max-requests",
        json!(-1),
        "`max-requests` is `-1`; it must be a whole number from 0",
    );
    check(
        "probe",
        json!("x"),
        "`probe` is `\"x\"`; it must be a path that begins with `/`, or \"\"",
    );
    check(
        "memory-limit",
        json!("lots"),
        "`memory-limit` is `\"lots\"`; it must be a size, as in \"256M\"",
    );
    let error = set("track", &json!(["a[b"])).unwrap_err().to_string();
    assert!(error.contains("unclosed character class"), "{error}");
    check(
        "group",
        json!("a b"),
        "`group` is `\"a b\"`; it must be a group's name, or \"\" for none: `a b` cannot be a \
         group's name because of ' '; use letters, digits, `-`, `_` and `.` only",
    );
    check(
        "group",
        json!(3),
        "`group` is `3`; it must be a group's name, or \"\" for none",
    );
}

#[test]
fn a_group_is_a_name_and_empty_text_is_none() {
    let options = set("group", &json!("blue")).unwrap();
    assert_eq!(options.group.as_ref().map(|it| it.as_str()), Some("blue"));
    let mut options = options;
    options.set("group", &json!(""), Path::new("/")).unwrap();
    assert_eq!(options.group, None);
}
