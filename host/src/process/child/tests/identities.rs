use super::*;

/// A user that no system has.
pub(super) fn another() -> Identity {
    Identity {
        uid: 61_234,
        gid: 61_235,
        groups: vec![61_236, 61_237],
    }
}

fn as_another(spec: ChildSpec) -> ChildSpec {
    ChildSpec {
        identity: Some(another()),
        ..spec
    }
}

#[tokio::test]
async fn a_child_is_who_it_is_to_be_in_every_respect_and_keeps_no_capability() {
    if !is_root() {
        let (step, message) = refused(as_another(sh(""))).await;
        assert_eq!(step, Step::Groups);
        assert!(message.contains("start Replug as root"), "{message}");
        return;
    }
    let child = look_at(as_another(stopped(""))).await;
    let shown = |name| status(child.pid(), name);
    assert_eq!(shown("Uid"), "61234\t61234\t61234\t61234");
    assert_eq!(shown("Gid"), "61235\t61235\t61235\t61235");
    assert_eq!(shown("Groups"), "61236 61237");
    for none in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(shown(none), "0000000000000000", "{none}");
    }
    kill(child).await;
}

#[tokio::test]
async fn another_user_cannot_read_what_is_root_s_nor_enter_or_execute_it() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(dir.path(), 0o755);
    let secret = dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    mode(&secret, 0o600);
    let (death, lines) = run(as_another(sh(&format!("cat {}", secret.display())))).await;
    assert_eq!(death, Death::Exited(1));
    assert!(lines[0].text.contains("Permission denied"), "{lines:?}");

    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    mode(&closed, 0o700);
    let spec = ChildSpec {
        directory: Some(closed),
        ..as_another(sh(""))
    };
    let (step, message) = refused(spec).await;
    assert_eq!(step, Step::Directory);
    assert!(message.contains("the child's user"), "{message}");

    mode(&secret, 0o700);
    let spec = ChildSpec {
        program: Program::Path(secret),
        ..as_another(sh(""))
    };
    assert_eq!(refused(spec).await.0, Step::Execute);
}

#[tokio::test]
async fn another_user_can_open_its_own_standard_streams() {
    if !is_root() {
        return;
    }
    let lines = output(as_another(sh(
        "echo out > /dev/stdout; echo err > /dev/stderr",
    )))
    .await;
    assert_eq!(lines, ["out"]);
}

#[tokio::test]
async fn to_be_who_one_is_takes_no_privileges() {
    let gid = rustix::process::getgid().as_raw();
    let groups = rustix::process::getgroups().unwrap();
    let mut groups: Vec<u32> = groups.iter().map(|gid| gid.as_raw()).collect();
    groups.reverse();
    let spec = ChildSpec {
        identity: Some(Identity {
            uid: rustix::process::getuid().as_raw(),
            gid,
            groups,
        }),
        ..sh("id -g")
    };
    assert_eq!(output(spec).await, [gid.to_string()]);
}
