//! How long functions and files may get, what tests may not do, and how many
//! places publish.

use std::collections::BTreeMap;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::Fault;
use super::sources::{File, is_for_tests};

/// The most lines of a function: a screen.
pub const FUNCTION_LINES_MAX: usize = 70;
/// The most lines of a file, without its tests.
pub const FILE_LINES_MAX: usize = 400;

/// Something that may be longer than the rest, up to these lines.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// `path/to/file.rs`, or `path/to/file.rs: function`.
    pub what: &'static str,
    /// The lines it may have: lower this when it gets shorter.
    pub lines: usize,
}

/// What is longer than it may be, as [`Exception::what`] names it, with its
/// place and its lines. Tests may be as long as their tables of cases.
#[must_use]
pub fn too_long(file: &File) -> Vec<(String, usize, usize)> {
    if file.is_test() {
        return Vec::new();
    }
    let mut lengths = Lengths { found: Vec::new(), test_lines: 0 };
    lengths.visit_file(&file.syntax);
    let functions = lengths.found.into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
    let mut long: Vec<_> = functions
        .map(|(name, line, lines)| (format!("{}: {name}", file.path), line, lines))
        .collect();
    let lines = file.text.lines().count() - lengths.test_lines;
    if lines > FILE_LINES_MAX {
        long.push((file.path.clone(), 1, lines));
    }
    long
}

/// What is too long and no exception, and exceptions that are none any more.
#[must_use]
pub fn lengths(files: &[File], exceptions: &[Exception]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut open: BTreeMap<&str, usize> =
        exceptions.iter().map(|exception| (exception.what, exception.lines)).collect();
    for file in files {
        for (what, line, lines) in too_long(file) {
            let problem = match open.remove(what.as_str()) {
                None => format!(
                    "{what} has {lines} lines; functions have at most {FUNCTION_LINES_MAX}, files {FILE_LINES_MAX} without tests: take a part out that has a name"
                ),
                Some(allowed) if lines > allowed => format!(
                    "{what} has {lines} lines and its exception says {allowed}: exceptions only shrink, so take something out"
                ),
                Some(_) => continue,
            };
            faults.push(file.fault(line, problem));
        }
    }
    let stale = open.into_keys().map(|what| Fault {
        file: what.split(':').next().unwrap_or(what).to_owned(),
        line: 1,
        problem: format!("{what} is not too long any more: delete its exception"),
    });
    faults.extend(stale);
    faults
}

/// Measures functions and tests.
struct Lengths {
    found: Vec<(String, usize, usize)>,
    test_lines: usize,
}

impl Lengths {
    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let (start, end) = (signature.span().start().line, body.span().end().line);
        self.found.push((signature.ident.to_string(), start, end + 1 - start));
    }
}

impl<'ast> Visit<'ast> for Lengths {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            self.test_lines += item.span().end().line + 1 - item.span().start().line;
        } else {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Every ignored test, and every sleep in a test.
#[must_use]
pub fn tests_that_wait_or_skip(file: &File) -> Vec<Fault> {
    let of_tests = file.is_test() || file.path.starts_with("tests/");
    let mut found = Waits { in_tests: of_tests, found: Vec::new() };
    found.visit_file(&file.syntax);
    found.found.into_iter().map(|(line, problem)| file.fault(line, problem)).collect()
}

/// Finds what tests may not do.
struct Waits {
    in_tests: bool,
    found: Vec<(usize, &'static str)>,
}

impl Waits {
    const SLEEPS: &str = "sleeps: wait for what must happen, not for time to pass";
    const IGNORED: &str = "is ignored: a test that cannot run fails and says what to install";

    fn called(&mut self, name: &syn::Ident) {
        if self.in_tests && name == "sleep" {
            self.found.push((name.span().start().line, Self::SLEEPS));
        }
    }
}

impl<'ast> Visit<'ast> for Waits {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("ignore") {
            self.found.push((attribute.span().start().line, Self::IGNORED));
        }
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        if let Some(last) = path.path.segments.last() {
            self.called(&last.ident);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.called(&call.method);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let before = self.in_tests;
        self.in_tests |= is_for_tests(&item.attrs);
        visit::visit_item_mod(self, item);
        self.in_tests = before;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let before = self.in_tests;
        self.in_tests |= is_for_tests(&item.attrs);
        visit::visit_item_fn(self, item);
        self.in_tests = before;
    }
}

/// Where an `ArcSwap` is declared: as a static, a field or by another name.
#[must_use]
pub fn publishers(file: &File) -> Vec<usize> {
    let mut found = Publishers(Vec::new());
    if !file.is_test() {
        found.visit_file(&file.syntax);
    }
    found.0
}

/// All places that publish, when there is more than one.
#[must_use]
pub fn second_publishers(files: &[File]) -> Vec<Fault> {
    let places: Vec<(&File, usize)> = files
        .iter()
        .flat_map(|file| publishers(file).into_iter().map(move |line| (file, line)))
        .collect();
    if places.len() < 2 {
        return Vec::new();
    }
    let problem = "is one of several ArcSwaps; one generation is published at one place, so that no reader sees two";
    places.into_iter().map(|(file, line)| file.fault(line, problem)).collect()
}

struct Publishers(Vec<usize>);

impl Publishers {
    fn declared(&mut self, declared: &syn::Type) {
        let mut names = Names(false);
        names.visit_type(declared);
        if names.0 {
            self.0.push(declared.span().start().line);
        }
    }
}

impl<'ast> Visit<'ast> for Publishers {
    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.declared(&item.ty);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.declared(&item.ty);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.declared(&field.ty);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// Whether a type names an `ArcSwap` of any kind.
struct Names(bool);

impl<'ast> Visit<'ast> for Names {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        self.0 |= segment.ident.to_string().starts_with("ArcSwap");
        visit::visit_path_segment(self, segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File::new(path, text).unwrap()
    }

    #[test]
    fn what_is_too_long_is_found() {
        let body = "    x();\n".repeat(69);
        let long = file("nft/src/x.rs", &format!("fn long() {{\n{body}}}\nfn short() {{\n}}\n"));
        assert_eq!(too_long(&long), [("nft/src/x.rs: long".to_owned(), 1, 71)]);
        assert_eq!(lengths(std::slice::from_ref(&long), &[]).len(), 1);
        let told = |lines| {
            let exceptions = [Exception { what: "nft/src/x.rs: long", lines }];
            lengths(std::slice::from_ref(&long), &exceptions).len()
        };
        assert_eq!([70, 71, 72].map(told), [1, 0, 0]);
        let stale = [Exception { what: "nft/src/x.rs: short", lines: 90 }];
        assert_eq!(lengths(&[file("nft/src/x.rs", "fn short() {}")], &stale).len(), 1);
    }

    #[test]
    fn tests_in_a_file_do_not_count() {
        let code = "const A: u8 = 1;\n".repeat(399);
        let tests = "#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n";
        assert_eq!(too_long(&file("nft/src/x.rs", &format!("{code}{tests}"))), []);
        let more = file("nft/src/x.rs", &format!("{code}\n\n{tests}"));
        assert_eq!(too_long(&more), [("nft/src/x.rs".to_owned(), 1, 401)]);
        assert_eq!(too_long(&file("tests/suites/x.rs", &code.repeat(2))), []);
    }

    #[test]
    fn tests_that_wait_or_skip_are_found() {
        let lines = |path, text| -> Vec<usize> {
            let found = tests_that_wait_or_skip(&file(path, text));
            found.iter().map(|fault| fault.line).collect()
        };
        let sleepy = "use std::thread::sleep;\nfn f() {\n    std::thread::sleep(d);\n    sleep(d);\n    x.sleep();\n}";
        assert_eq!(lines("tests/suites/x.rs", sleepy), [3, 4, 5]);
        assert_eq!(lines("agent/src/sync/run.rs", sleepy), Vec::<usize>::new());
        let inside = "#[cfg(test)]\nmod tests {\n    #[test]\n    #[ignore = \"slow\"]\n    fn t() { sleep(d); }\n}";
        assert_eq!(lines("agent/src/x.rs", inside), [4, 5]);
    }

    #[test]
    fn a_second_publisher_is_found() {
        let one = file("agent/src/a.rs", "pub type P = Arc<ArcSwapOption<Snapshot>>;");
        let two = file("agent/src/b.rs", "struct S {\n    seen: arc_swap::ArcSwap<X>,\n}");
        let test = file("agent/src/c.rs", "#[cfg(test)] mod tests { static S: ArcSwap<X> = x(); }");
        assert_eq!(second_publishers(&[one.clone(), test]), []);
        assert_eq!(second_publishers(&[one, two]).len(), 2);
    }
}
