//! Misuse of borrowed native code does not compile.

#[test]
fn borrowed_code_cannot_be_misused() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/misuse/*.rs");
}
