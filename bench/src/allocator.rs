//! What an allocation of a plugin's costs, beside the C library's in the same process.

use replug_bench::servers::Programs;
use replug_tests::host::Site;

pub(crate) async fn run(programs: &Programs) {
    let site = Site::new();
    let host = programs.serve(&programs.allocator, 1, &site).await;
    let report = host.get("/").await;
    println!("allocator: one thread, nanoseconds of each call, the median of alternating rounds\n");
    println!("{:52} {:>9} {:>9} {:>7}", "", "plugin's", "malloc", "ratio");
    for line in report.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let &[name, plugins, malloc] = &columns[..] else {
            panic!("the plugin answers {line:?}");
        };
        let (plugins, malloc): (f64, f64) = (plugins.parse().unwrap(), malloc.parse().unwrap());
        println!(
            "{name:52} {plugins:9.1} {malloc:9.1} {:7.2}",
            plugins / malloc
        );
    }
    println!();
}
