//! Templates: texts with gaps and choices, whether an evaluated text fits one, and where each part of it then stands.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// At how many places the text after a gap is tried.
const MOST_PLACES: usize = 24;

/// How many steps a fit may take: what takes more is given up.
const MOST_STEPS: usize = 200_000;

/// A file of the user's.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

/// A part of a template.
#[derive(Debug, Clone)]
pub enum Segment {
    /// Known text. Each run of it that stands so in the file: where it begins
    /// in the text, and where in the file.
    Literal {
        file: Arc<SourceFile>,
        text: String,
        runs: Vec<(usize, usize)>,
    },
    /// Text that Nix computes, by the expression at these bytes of the file.
    Gap {
        file: Arc<SourceFile>,
        range: Range<usize>,
    },
    /// One of several templates.
    Choice(Vec<Vec<Segment>>),
}

/// A template with more segments in a row is not tried: the search goes as deep. Such a script is shown by itself.
const MOST_SEGMENTS: usize = 1000;

/// How many segments follow one another at most.
fn longest(template: &[Segment]) -> usize {
    let lengths = template.iter().map(|segment| match segment {
        Segment::Literal { .. } | Segment::Gap { .. } => 1,
        Segment::Choice(choices) => choices.iter().map(|one| longest(one)).max().unwrap_or(0),
    });
    lengths.fold(0, usize::saturating_add)
}

/// Where the parts of a script stand.
#[derive(Debug)]
pub(super) struct Map {
    /// In the order of the script.
    pieces: Vec<TemplatePiece>,
    /// How many bytes are known to stand where the map says.
    pub known: usize,
}

#[derive(Debug)]
struct TemplatePiece {
    /// Bytes of the script.
    script: Range<usize>,
    file: Arc<SourceFile>,
    /// Bytes of the file.
    source: Range<usize>,
    kind: PieceKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PieceKind {
    /// The bytes correspond one by one.
    Exact,
    /// The expression as a whole gave them.
    Computed,
    /// The text may come from another expression.
    Unsure,
}

impl Map {
    /// For a script that is a file.
    pub fn whole_file(path: &Path, text: &str) -> Self {
        let file = Arc::new(SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        });
        let piece = TemplatePiece {
            script: 0..text.len(),
            file,
            source: 0..text.len(),
            kind: PieceKind::Exact,
        };
        Self {
            pieces: vec![piece],
            known: text.len(),
        }
    }

    /// For a script that fits a template: the way that explains most of it.
    pub fn fit(script: &str, template: &[Segment]) -> Option<Self> {
        if longest(template) > MOST_SEGMENTS {
            return None;
        }
        let mut fitting = Fitting {
            script,
            memory: HashMap::new(),
            chains: HashMap::new(),
            steps: 0,
        };
        let nodes = chain(template, None);
        let found = fitting.best(nodes.as_ref(), 0, None)?;
        let mut map = Self {
            pieces: Vec::new(),
            known: found.known,
        };
        let mut step = found.first.as_ref();
        while let Some(placed) = step {
            map.place(placed);
            step = placed.next.as_ref();
        }
        Some(map)
    }

    fn place(&mut self, placed: &Placed) {
        match &*placed.segment {
            Segment::Gap { file, range } if !placed.script.is_empty() => {
                self.pieces.push(TemplatePiece {
                    script: placed.script.clone(),
                    file: file.clone(),
                    source: range.clone(),
                    kind: if placed.sure {
                        PieceKind::Computed
                    } else {
                        PieceKind::Unsure
                    },
                });
            }
            Segment::Literal { file, text, runs } => {
                for (number, (begin, source)) in runs.iter().enumerate() {
                    let end = runs.get(number + 1).map_or(text.len(), |(next, _)| *next);
                    self.pieces.push(TemplatePiece {
                        script: placed.script.start + begin..placed.script.start + end,
                        file: file.clone(),
                        source: *source..source + (end - begin),
                        kind: if placed.sure {
                            PieceKind::Exact
                        } else {
                            PieceKind::Unsure
                        },
                    });
                }
            }
            Segment::Gap { .. } | Segment::Choice(_) => {}
        }
    }

    /// Returns the files that the script comes from.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = Vec::new();
        for piece in &self.pieces {
            if !files.contains(&piece.file.path) {
                files.push(piece.file.path.clone());
            }
        }
        files
    }

    /// The file and the bytes of it from which these bytes of the script come.
    pub fn locate(&self, range: &Range<usize>) -> Option<(&SourceFile, Range<usize>)> {
        let first = self.piece(range.start)?;
        let last = self
            .piece(range.end.max(range.start + 1) - 1)
            .unwrap_or(first);
        if first.kind == PieceKind::Unsure {
            return None;
        }
        let start = first.at(range.start);
        let same = Arc::ptr_eq(&last.file, &first.file) && last.source.end >= first.source.start;
        let end = if same && last.kind != PieceKind::Unsure {
            last.upto(range.end)
        } else {
            first.source.end
        };
        Some((&first.file, start..end.max(start)))
    }

    fn piece(&self, offset: usize) -> Option<&TemplatePiece> {
        let after = self
            .pieces
            .partition_point(|piece| piece.script.end <= offset);
        // At the very end there is no byte: the last piece ends there.
        self.pieces.get(after).or(self.pieces.last())
    }
}

impl TemplatePiece {
    fn at(&self, offset: usize) -> usize {
        if self.kind == PieceKind::Exact {
            let within = offset.saturating_sub(self.script.start);
            self.source.start + within.min(self.source.len())
        } else {
            self.source.start
        }
    }

    /// Where a range that ends before `offset` ends.
    fn upto(&self, offset: usize) -> usize {
        if self.kind == PieceKind::Exact {
            self.at(offset)
        } else {
            self.source.end
        }
    }
}

/// A template as a list, so that what follows on a choice is shared by its alternatives.
#[derive(Debug)]
struct SearchNode {
    segment: Rc<Segment>,
    next: Option<Rc<SearchNode>>,
}

fn chain(template: &[Segment], rest: Option<Rc<SearchNode>>) -> Option<Rc<SearchNode>> {
    template.iter().rev().fold(rest, |next, segment| {
        let segment = Rc::new(segment.clone());
        Some(Rc::new(SearchNode { segment, next }))
    })
}

/// A segment and the bytes of the script that it explains.
#[derive(Debug)]
struct Placed {
    segment: Rc<Segment>,
    script: Range<usize>,
    /// Whether there was no other way that explains as much.
    sure: bool,
    next: Option<Rc<Placed>>,
}

impl Placed {
    /// The same, where this literal may stand elsewhere, and with it the gap
    /// that follows.
    fn unsure(&self) -> Rc<Self> {
        let next = match &self.next {
            Some(next) if matches!(*next.segment, Segment::Gap { .. }) => Some(next.unsure()),
            next => next.clone(),
        };
        Rc::new(Self {
            segment: self.segment.clone(),
            script: self.script.clone(),
            sure: false,
            next,
        })
    }
}

/// The best way from some place to the script's end.
#[derive(Debug, Clone)]
struct Found {
    known: usize,
    first: Option<Rc<Placed>>,
}

/// A gap that is open: what fills it, and where it begins in the script.
#[derive(Debug, Clone)]
struct OpenSegment {
    segment: Rc<Segment>,
    begin: usize,
}

struct Fitting<'a> {
    script: &'a str,
    /// By node, place in the script, and whether a gap is open there.
    memory: HashMap<(*const SearchNode, usize, bool), Option<Found>>,
    /// Templates of choices with what follows on them. They are kept, so that
    /// the addresses in `memory` stay theirs.
    chains: HashMap<(*const Segment, usize, *const SearchNode), Option<Rc<SearchNode>>>,
    steps: usize,
}

impl Fitting<'_> {
    fn best(
        &mut self,
        node: Option<&Rc<SearchNode>>,
        at: usize,
        open: Option<&OpenSegment>,
    ) -> Option<Found> {
        let Some(node) = node else {
            return self.end(at, open);
        };
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return None;
        }
        let key = (Rc::as_ptr(node), at, open.is_some());
        if open.is_none()
            && let Some(found) = self.memory.get(&key)
        {
            return found.clone();
        }
        let found = match &*node.segment {
            Segment::Gap { .. } => {
                let gap = OpenSegment {
                    segment: node.segment.clone(),
                    begin: at,
                };
                self.best(node.next.as_ref(), at, Some(open.unwrap_or(&gap)))
            }
            Segment::Choice(templates) => {
                let mut best: Option<Found> = None;
                for (number, template) in templates.iter().enumerate() {
                    let next = node.next.as_ref().map_or(std::ptr::null(), Rc::as_ptr);
                    let key = (Rc::as_ptr(&node.segment), number, next);
                    let nodes = self.chains.entry(key);
                    let nodes = nodes
                        .or_insert_with(|| chain(template, node.next.clone()))
                        .clone();
                    let found = self.best(nodes.as_ref(), at, open);
                    if known(found.as_ref()) > known(best.as_ref()) {
                        best = found;
                    }
                }
                best
            }
            Segment::Literal { text, .. } if text.is_empty() => {
                self.best(node.next.as_ref(), at, open)
            }
            Segment::Literal { text, .. } => match open {
                None => self.here(node, text, at),
                Some(open) => self.after_gap(node, text, open),
            },
        };
        if open.is_none() {
            self.memory.insert(key, found.clone());
        }
        found
    }

    fn end(&self, at: usize, open: Option<&OpenSegment>) -> Option<Found> {
        let first = match open {
            None if at < self.script.len() => return None,
            None => None,
            Some(open) => Some(open.fill(self.script.len(), None)),
        };
        Some(Found { known: 0, first })
    }

    /// The literal of a node at a place of the script, and what follows.
    fn here(&mut self, node: &Rc<SearchNode>, text: &str, at: usize) -> Option<Found> {
        if !self.script[at..].starts_with(text) {
            return None;
        }
        let end = at + text.len();
        let rest = self.best(node.next.as_ref(), end, None)?;
        let placed = Placed {
            segment: node.segment.clone(),
            script: at..end,
            sure: true,
            next: rest.first,
        };
        Some(Found {
            known: rest.known + text.len(),
            first: Some(Rc::new(placed)),
        })
    }

    /// The literal after a gap: wherever it leads furthest, and whether that
    /// is the only such place.
    fn after_gap(
        &mut self,
        node: &Rc<SearchNode>,
        text: &str,
        open: &OpenSegment,
    ) -> Option<Found> {
        let script = self.script;
        let last = node.next.is_none();
        let places: Vec<usize> = if last {
            let place = script.len().checked_sub(text.len());
            place
                .filter(|place| *place >= open.begin && script.ends_with(text))
                .into_iter()
                .collect()
        } else {
            let found = script[open.begin..].match_indices(text);
            found
                .map(|(place, _)| open.begin + place)
                .take(MOST_PLACES)
                .collect()
        };
        let mut best: Option<(usize, Found)> = None;
        let mut sure = true;
        for place in places {
            let found = self.here(node, text, place);
            match known(found.as_ref()).cmp(&known(best.as_ref().map(|(_, found)| found))) {
                std::cmp::Ordering::Greater => {
                    best = found.map(|found| (place, found));
                    sure = true;
                }
                std::cmp::Ordering::Equal if found.is_some() => sure = false,
                _ => {}
            }
        }
        let (place, found) = best?;
        let after = if sure {
            found.first
        } else {
            found.first.map(|placed| placed.unsure())
        };
        let filled = open.fill(place, after);
        Some(Found {
            known: found.known,
            first: Some(if sure { filled } else { filled.unsure() }),
        })
    }
}

impl OpenSegment {
    fn fill(&self, end: usize, next: Option<Rc<Placed>>) -> Rc<Placed> {
        Rc::new(Placed {
            segment: self.segment.clone(),
            script: self.begin..end,
            sure: true,
            next,
        })
    }
}

/// For comparing: nothing found is less than nothing known.
fn known(found: Option<&Found>) -> Option<usize> {
    found.map(|found| found.known)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// A template of literals and gaps, and a script that it makes.
    fn template(parts: &[(bool, String)]) -> (String, Vec<Segment>) {
        let text: String = parts.iter().map(|(_, text)| text.as_str()).collect();
        let file = Arc::new(SourceFile {
            path: "test.nix".into(),
            text: text.clone(),
        });
        let mut at = 0;
        let segments = parts.iter().map(|(is_gap, text)| {
            let range = at..at + text.len();
            at = range.end;
            if *is_gap {
                let file = file.clone();
                return Segment::Gap { file, range };
            }
            Segment::Literal {
                file: file.clone(),
                text: text.clone(),
                runs: vec![(0, range.start)],
            }
        });
        let segments = segments.collect();
        (text, segments)
    }

    /// A gap, or a literal: no gap holds a part of a literal, which the search would take for its place.
    fn part() -> impl Strategy<Value = (bool, String)> {
        prop_oneof![
            "[xyz]{0,4}".prop_map(|text| (true, text)),
            "[ab\n é]{1,4}".prop_map(|text| (false, text)),
        ]
    }

    proptest! {
        #[test]
        fn a_script_fits_the_template_that_it_is_made_of(
            parts in proptest::collection::vec(part(), 0..12),
            other: String,
        ) {
            let (script, segments) = template(&parts);
            let map = Map::fit(&script, &segments);
            prop_assert!(map.is_some());
            if let Some(map) = map {
                for at in script.char_indices().map(|(at, _)| at) {
                    let _ = map.locate(&(at..at));
                }
            }
            let _ = Map::fit(&other, &segments);
        }
    }

    #[test]
    fn a_template_without_end_takes_no_stack() {
        let parts: Vec<(bool, String)> = (0..100_000)
            .map(|number| (number % 2 == 0, "a".to_owned()))
            .collect();
        let (script, segments) = template(&parts);
        assert!(Map::fit(&script, &segments).is_none());
    }
}
