//! Builds what the tests need, so that a test's own time is not a compiler's.

fn main() {
    for (name, path) in replug_tests::artifacts::list() {
        println!("{name:24} {}", path.display());
    }
}
