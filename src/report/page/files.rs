//! The files of an attempt: what the test has saved, and what every run writes.

use std::path::{Component, Path, PathBuf};

use maud::{Markup, html};
use walkdir::WalkDir;

use super::{PageContext, link, plain, size};
use crate::folders::real_path;
use crate::report::recorded::Timeline;

const WRITTEN: [&str; 3] = ["events.jsonl", "junit.xml", "build.log"];

/// More are counted.
const MOST_FILES: usize = 300;

/// Endings of files that a browser shows as text or as a picture, or saves. A page that a guest has written would run
/// in the reader's browser.
const HARMLESS: [&str; 21] = [
    "bin", "bz2", "conf", "csv", "gz", "jpeg", "jpg", "json", "jsonl", "log", "md", "pcap",
    "pcapng", "png", "tar", "toml", "txt", "xz", "yaml", "zip", "zst",
];

/// A file as it is listed.
struct Listed {
    name: String,
    link: Option<String>,
    size: String,
}

pub(super) fn files(context: PageContext<'_>, folder: &Path, timeline: &Timeline) -> Markup {
    let saved = timeline.files.iter().filter(|name| is_inside(name));
    let written = WRITTEN.map(PathBuf::from);
    let mut names: Vec<PathBuf> = saved.flat_map(|name| below(folder, name)).collect();
    names.extend(written);
    names.dedup();
    let count = names.len();
    names.truncate(MOST_FILES);
    let listed = names.iter().filter_map(|name| {
        let path = folder.join(name);
        let is_ours = WRITTEN.iter().any(|own| name == Path::new(own));
        Some(Listed {
            name: name.display().to_string(),
            size: size(&path)?,
            link: link(context, &path).filter(|_| is_ours || is_harmless(name)),
        })
    });
    let listed: Vec<Listed> = listed.collect();
    if listed.is_empty() {
        return html! {};
    }
    let folder = real_path(folder);
    html! {
        details.files {
            summary { "Files (" (listed.len()) ")" }
            ul {
                @for Listed { name, link, size } in &listed {
                    li {
                        @match link {
                            Some(link) => a href=(link) download { (plain(name)) },
                            None => (plain(name)),
                        }
                        " (" (size) ")"
                    }
                }
            }
            @if count > MOST_FILES { p { "More are in the output folder." } }
            p.where { "The page does not hold them: they are in " (plain(&folder.display().to_string())) "." }
        }
    }
}

fn is_inside(name: &Path) -> bool {
    name.components()
        .all(|part| matches!(part, Component::Normal(_)))
}

fn is_harmless(name: &Path) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|it| HARMLESS.contains(&it.to_ascii_lowercase().as_str()))
}

/// A file, or the files in a folder. Links are not followed: where they lead is a guest's choice.
fn below(folder: &Path, name: &Path) -> Vec<PathBuf> {
    let all = WalkDir::new(folder.join(name)).sort_by_file_name();
    all.into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .take(MOST_FILES + 1)
        .filter_map(|entry| Some(entry.path().strip_prefix(folder).ok()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_run_is_no_link() {
        for name in ["a.log", "d/b.JSON", "screen.png", "core.zst"] {
            assert!(is_harmless(Path::new(name)), "{name}");
        }
        for name in ["a.html", "a.svg", "a.xml", "html", "a.log.xhtml", "a.pdf"] {
            assert!(!is_harmless(Path::new(name)), "{name}");
        }
    }
}
