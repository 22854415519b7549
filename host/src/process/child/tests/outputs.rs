use super::*;

fn texts(lines: &[Line], stream: Stream) -> Vec<&str> {
    let of_it = lines.iter().filter(|line| line.stream == stream);
    of_it.map(|line| line.text.as_str()).collect()
}

#[tokio::test]
async fn each_line_is_handed_on_in_order_and_with_its_stream() {
    let script = "i=0; while [ $i -lt 3000 ]; do echo $i; echo e$i >&2; i=$((i+1)); done";
    let (death, lines) = run(sh(script)).await;
    assert_eq!(death, Death::Exited(0));
    let numbers: Vec<String> = (0..3000).map(|number| number.to_string()).collect();
    assert_eq!(texts(&lines, Stream::Output), numbers);
    let numbers: Vec<String> = numbers.iter().map(|number| format!("e{number}")).collect();
    assert_eq!(texts(&lines, Stream::Error), numbers);
}

#[tokio::test]
async fn what_is_written_just_before_death_is_not_lost() {
    for _ in 0..50 {
        let child = sh("echo one >&2; printf two >&2; kill -KILL $$");
        let child = child.spawn().await.unwrap();
        in_time(child.wait()).await;
        assert_eq!(texts(&child.last_lines(), Stream::Error), ["one", "two"]);
    }
}

#[tokio::test]
async fn the_last_lines_are_kept_though_nobody_reads_any() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo number $i; i=$((i+1)); done; exit 4";
    let child = sh(script).spawn().await.unwrap();
    assert_eq!(in_time(child.wait()).await, Death::Exited(4));
    let expected: Vec<String> = (20_000 - KEPT_LINES..20_000)
        .map(|number| format!("number {number}"))
        .collect();
    assert_eq!(texts(&child.last_lines(), Stream::Output), expected);
}

#[tokio::test]
async fn a_death_is_known_though_others_hold_its_streams() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&lines);
    let (input, end) = io::pipe().unwrap();
    let spec = ChildSpec {
        descriptors: vec![input.into()],
        output: Some(Sink::new(move |line| to.lock().unwrap().push(line.text))),
        ..sh("(read end <&3; echo later) & echo first")
    };
    let child = spec.spawn().await.unwrap();
    assert_eq!(in_time(child.wait()).await, Death::Exited(0));
    assert_eq!(*lines.lock().unwrap(), ["first"]);
    // What those others write comes, too.
    drop(end);
    until(|| lines.lock().unwrap().len() == 2).await;
    assert_eq!(lines.lock().unwrap()[1], "later");
}

#[tokio::test]
async fn garbage_is_shown_as_such_and_ends_no_line() {
    let script = r"printf 'a\377\376b\000c\n'; head -c 40000 /dev/zero | tr '\0' x";
    let (_, lines) = run(sh(script)).await;
    let texts = texts(&lines, Stream::Output);
    assert_eq!(texts[0], "a\u{fffd}\u{fffd}b\0c");
    let lengths: Vec<usize> = texts[1..].iter().map(|text| text.len()).collect();
    assert_eq!(
        lengths,
        [LONGEST_LINE, LONGEST_LINE, 40_000 - 2 * LONGEST_LINE]
    );
}

#[tokio::test]
async fn there_is_nothing_to_read() {
    assert_eq!(output(sh("wc -c")).await, ["0"]);
}
