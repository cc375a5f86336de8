//! Displays, pages and files name every event: a new one does not compile until each has said what it does.

use std::fs;
use std::path::Path;

use syn::visit::Visit;
use walkdir::WalkDir;

/// Counts matches over events, and collects those with an arm for all other events.
#[derive(Default)]
struct EventMatches {
    seen: usize,
    careless: usize,
}

impl<'ast> Visit<'ast> for EventMatches {
    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        let is_rest = |arm: &syn::Arm| matches!(arm.pat, syn::Pat::Wild(_));
        if expression.arms.iter().any(|arm| names_event(&arm.pat)) {
            self.seen += 1;
            self.careless += usize::from(expression.arms.iter().any(is_rest));
        }
        syn::visit::visit_expr_match(self, expression);
    }

    /// Unit tests look at some events only.
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            syn::visit::visit_item_mod(self, item);
        }
    }
}

fn names_event(pattern: &syn::Pat) -> bool {
    let path = match pattern {
        syn::Pat::Struct(pattern) => &pattern.path,
        syn::Pat::Path(pattern) => &pattern.path,
        syn::Pat::Or(pattern) => return pattern.cases.iter().any(names_event),
        _ => return false,
    };
    path.segments.len() == 2 && path.segments[0].ident == "Event"
}

#[test]
fn no_display_or_file_forgets_an_event() {
    let mut matches = EventMatches::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report");
    for entry in WalkDir::new(folder) {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            let careless = matches.careless;
            matches.visit_file(&syn::parse_file(&text).unwrap());
            let name = entry.path().display();
            assert_eq!(matches.careless, careless, "{name}: `_ =>` over events");
        }
    }
    assert!(matches.seen >= 8, "{} matches were found", matches.seen);
}
