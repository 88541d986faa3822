//! Manual page and completions of ipsetd are of its command line.

#[test]
fn they_are_of_this_command_line() {
    fwn_testkit::manual::assert_current(&ipsetd::program::command());
}
