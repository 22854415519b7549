use serde_json::json;

use super::*;

mod against_a_model;

fn claimant(app: &str, serial: u64) -> Claimant {
    Claimant {
        app: AppName::try_from(app).unwrap(),
        serial,
    }
}

/// A generation, and what it has registered.
type Serving = (Claimant, Vec<(String, i64)>);

/// Has a generation serve that registers these entries of the kind `x`.
fn serve(registry: &Registry, by: &Claimant, entries: &[(&str, i64)]) -> Result<(), RegisterError> {
    for (key, value) in entries {
        registry.stage(by, "x", key, &json!(value))?;
    }
    registry.commit(by)
}

fn check(registry: &Registry, expected: &[(&str, i64, &[&str])]) {
    let found = registry.of_kind("x");
    let found: Vec<_> = found
        .iter()
        .map(|entry| {
            let owners: Vec<_> = entry.owners.iter().map(String::as_str).collect();
            (entry.key.as_str(), entry.value.as_i64().unwrap(), owners)
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(key, value, owners)| (*key, *value, owners.to_vec()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_reload_that_registers_the_same_changes_nothing_and_tells_nobody() {
    let registry = Registry::default();
    let mut changes = registry.changes();
    let (first, second) = (claimant("shop", 1), claimant("shop", 2));
    serve(&registry, &first, &[("a", 1), ("b", 2)]).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    serve(&registry, &second, &[("b", 2), ("a", 1), ("a", 1)]).unwrap();
    registry.leave(&first);
    assert!(!changes.has_changed().unwrap());
    check(&registry, &[("a", 1, &["shop"]), ("b", 2, &["shop"])]);
}

#[test]
fn what_the_new_generation_leaves_out_goes_when_the_old_one_stops() {
    let registry = Registry::default();
    let (first, second) = (claimant("shop", 1), claimant("shop", 2));
    serve(&registry, &first, &[("a", 1), ("b", 2)]).unwrap();
    serve(&registry, &second, &[("b", 3)]).unwrap();
    check(&registry, &[("a", 1, &["shop"]), ("b", 3, &["shop"])]);
    registry.leave(&first);
    check(&registry, &[("b", 3, &["shop"])]);
    registry.leave(&second);
    check(&registry, &[]);
}

#[test]
fn what_is_staged_is_seen_only_when_its_generation_serves() {
    let registry = Registry::default();
    let (good, bad) = (claimant("shop", 1), claimant("shop", 2));
    serve(&registry, &good, &[("a", 1)]).unwrap();
    registry.stage(&bad, "x", "b", &json!(2)).unwrap();
    check(&registry, &[("a", 1, &["shop"])]);
    registry.discard(&bad);
    registry.commit(&bad).unwrap();
    check(&registry, &[("a", 1, &["shop"])]);
}

#[test]
fn two_apps_share_what_is_the_same_and_the_second_keeps_it() {
    let registry = Registry::default();
    let (shop, cart) = (claimant("shop", 1), claimant("cart", 2));
    serve(&registry, &shop, &[("a", 1)]).unwrap();
    serve(&registry, &cart, &[("a", 1)]).unwrap();
    check(&registry, &[("a", 1, &["shop", "cart"])]);
    // Co-owned: neither may change it alone.
    let error = serve(&registry, &claimant("shop", 3), &[("a", 2)]).unwrap_err();
    assert!(error.to_string().contains("app `cart`"), "{error}");
    registry.leave(&shop);
    check(&registry, &[("a", 1, &["cart"])]);
}

#[test]
fn a_key_of_another_app_is_refused_by_its_owners_name_and_all_or_nothing_holds() {
    let registry = Registry::default();
    serve(&registry, &claimant("shop", 1), &[("a", 1)]).unwrap();
    let cart = claimant("cart", 2);
    let error = registry.stage(&cart, "x", "a", &json!(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x `a` is registered by app `shop` with another value; choose another key, or let both \
         register the same"
    );
    // Staged by two at the same time: the first has it.
    let (left, right) = (claimant("left", 3), claimant("right", 4));
    registry.stage(&left, "x", "n", &json!(1)).unwrap();
    assert!(registry.stage(&right, "x", "n", &json!(2)).is_err());
    // Taken between staging and serving.
    registry.stage(&left, "x", "free", &json!(1)).unwrap();
    registry.stage(&left, "x", "late", &json!(1)).unwrap();
    registry.discard(&left);
    registry.stage(&right, "x", "late", &json!(2)).unwrap();
    registry.commit(&right).unwrap();
    let again = claimant("left", 5);
    registry.stage(&again, "x", "free", &json!(1)).unwrap();
    assert!(registry.stage(&again, "x", "late", &json!(1)).is_err());
    check(&registry, &[("a", 1, &["shop"]), ("late", 2, &["right"])]);
}

#[test]
fn what_cannot_be_registered_is_named() {
    let registry = Registry::default();
    let by = claimant("shop", 1);
    let refused = |kind: &str, key: &str, value: Value, part: &str| {
        let error = registry.stage(&by, kind, key, &value).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    refused("", "a", json!(1), "cannot be a kind");
    refused("x", "", json!(1), "cannot be a key");
    refused("x", "a\nb", json!(1), "control characters");
    refused("x", &"a".repeat(257), json!(1), "256 bytes");
    refused("x", "a", json!("v".repeat(70_000)), "70002 bytes");
    refused("route", "shop", json!(null), "must begin with `/`");
    refused("schedule", "a", json!(null), "Setup::schedule");
    registry.stage(&by, "x", "a", &json!(1)).unwrap();
    refused("x", "a", json!(2), "twice");
    registry
        .stage(&by, "route", "/shop/", &json!(null))
        .unwrap();
    assert_eq!(registry.staged(&by, ROUTE), ["/shop"]);
}

#[test]
fn an_app_may_register_so_many_entries_and_no_more() {
    let registry = Registry::default();
    for serial in 1..=2 {
        let by = claimant("shop", serial);
        for number in 0..10_000 {
            let key = format!("key-{number}");
            registry.stage(&by, "x", &key, &json!(number)).unwrap();
        }
        let error = registry.stage(&by, "x", "more", &json!(0)).unwrap_err();
        assert_eq!(error, RegisterError::TooMany);
        // One that is there already is no further one.
        registry.stage(&by, "x", "key-0", &json!(0)).unwrap();
        registry.commit(&by).unwrap();
    }
    registry.leave(&claimant("shop", 1));
    assert_eq!(registry.of_kind("x").len(), 10_000);
}

#[test]
fn a_route_has_no_value_to_differ_in() {
    let registry = Registry::default();
    let by = claimant("shop", 1);
    registry.stage(&by, ROUTE, "/cart", &json!(1)).unwrap();
    registry.stage(&by, ROUTE, "/cart/", &json!(2)).unwrap();
    registry.commit(&by).unwrap();
    assert_eq!(registry.of_kind(ROUTE)[0].value, Value::Null);
}

#[test]
fn random_reloads_leave_what_the_serving_generations_registered() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let registry = Registry::default();
        let apps = ["a", "b", "c"];
        let mut serving: HashMap<&str, Serving> = HashMap::new();
        for serial in 1..60 {
            let app = apps[random.usize(..apps.len())];
            if random.u8(..4) == 0 {
                if let Some((by, _)) = serving.remove(app) {
                    registry.leave(&by);
                }
                continue;
            }
            let by = claimant(app, serial);
            let wanted: Vec<(String, i64)> = (0..random.usize(..4))
                .map(|_| (format!("k{}", random.u8(..6)), random.i64(0..2)))
                .collect();
            let staged = wanted
                .iter()
                .try_for_each(|(key, value)| registry.stage(&by, "x", key, &json!(value)));
            let others = || {
                let others = serving.iter().filter(|(other, _)| **other != app);
                others.flat_map(|(_, (_, entries))| entries)
            };
            let clash = |(key, value): &(String, i64)| {
                others().any(|(other, taken)| other == key && taken != value)
            };
            let twice = wanted.iter().any(|(key, value)| {
                wanted
                    .iter()
                    .any(|(other, second)| other == key && second != value)
            });
            if wanted.iter().any(clash) || twice {
                assert!(staged.is_err());
                registry.discard(&by);
                continue;
            }
            staged.unwrap();
            registry.commit(&by).unwrap();
            if let Some((old, _)) = serving.insert(app, (by, wanted)) {
                registry.leave(&old);
            }
        }
        let mut expected: Vec<(String, i64)> = serving
            .values()
            .flat_map(|(_, entries)| entries.clone())
            .collect();
        expected.sort();
        expected.dedup();
        let mut found: Vec<(String, i64)> = registry
            .all()
            .into_iter()
            .map(|entry| (entry.key, entry.value.as_i64().unwrap()))
            .collect();
        found.sort();
        assert_eq!(found, expected);
    }
}

#[test]
fn what_another_host_has_must_not_be_contradicted() {
    let registry = Registry::default();
    let entry = |key: &str, owner: &str| Registered {
        kind: "x".to_owned(),
        key: key.to_owned(),
        value: json!(1),
        owners: vec![owner.to_owned()],
    };
    registry.mirror(vec![entry("a", "other"), entry("b", "shop")]);
    let shop = claimant("shop", 1);
    serve(&registry, &shop, &[("a", 1), ("b", 2)]).unwrap();
    let error = registry.stage(&claimant("shop", 2), "x", "a", &json!(2));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("registered by app `other`"), "{error}");
}
