//! Templates: texts with gaps, whether an evaluated text fits one, and where each part of it then stands.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
}

/// Where the parts of a script stand.
#[derive(Debug)]
pub(super) struct Map {
    pieces: Vec<Piece>,
    /// How many bytes are known to stand where the map says.
    pub known: usize,
}

#[derive(Debug)]
struct Piece {
    /// Bytes of the script.
    script: Range<usize>,
    file: Arc<SourceFile>,
    /// Bytes of the file.
    source: Range<usize>,
    /// Whether they correspond one by one.
    exact: bool,
}

impl Map {
    /// For a script that is a file.
    pub fn whole_file(path: &Path, text: &str) -> Self {
        let file = Arc::new(SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        });
        let piece = Piece {
            script: 0..text.len(),
            file,
            source: 0..text.len(),
            exact: true,
        };
        Self {
            pieces: vec![piece],
            known: text.len(),
        }
    }

    /// For a script that fits a template. Where it fits in several ways, gaps
    /// are as short as can be.
    pub fn fit(script: &str, template: &[Segment]) -> Option<Self> {
        let last_literal = template
            .iter()
            .rposition(|segment| matches!(segment, Segment::Literal { .. }))?;
        let mut map = Self {
            pieces: Vec::new(),
            known: 0,
        };
        let mut position = 0;
        let mut gap: Option<(Arc<SourceFile>, Range<usize>)> = None;
        for (number, segment) in template.iter().enumerate() {
            match segment {
                Segment::Gap { file, range } => {
                    gap.get_or_insert_with(|| (file.clone(), range.clone()));
                }
                Segment::Literal { file, text, runs } => {
                    let ends_script = number == last_literal && number + 1 == template.len();
                    let found = if gap.is_none() {
                        let here = script[position..].starts_with(text.as_str());
                        (here && (!ends_script || position + text.len() == script.len()))
                            .then_some(position)
                    } else if ends_script {
                        let found = script.len().checked_sub(text.len())?;
                        (found >= position && script.ends_with(text.as_str())).then_some(found)
                    } else {
                        script[position..]
                            .find(text.as_str())
                            .map(|found| position + found)
                    }?;
                    map.fill(gap.take(), position..found);
                    map.place(file, text, runs, found);
                    position = found + text.len();
                }
            }
        }
        if gap.is_none() && position != script.len() {
            return None;
        }
        map.fill(gap, position..script.len());
        Some(map)
    }

    fn fill(&mut self, gap: Option<(Arc<SourceFile>, Range<usize>)>, script: Range<usize>) {
        if let Some((file, source)) = gap
            && !script.is_empty()
        {
            self.pieces.push(Piece {
                script,
                file,
                source,
                exact: false,
            });
        }
    }

    fn place(&mut self, file: &Arc<SourceFile>, text: &str, runs: &[(usize, usize)], at: usize) {
        for (number, (begin, source)) in runs.iter().enumerate() {
            let end = runs.get(number + 1).map_or(text.len(), |(next, _)| *next);
            self.known += end - begin;
            self.pieces.push(Piece {
                script: at + begin..at + end,
                file: file.clone(),
                source: *source..source + (end - begin),
                exact: true,
            });
        }
    }

    /// The file and the bytes of it from which these bytes of the script come.
    pub fn locate(&self, range: &Range<usize>) -> Option<(&SourceFile, Range<usize>)> {
        let first = self.piece(range.start)?;
        let start = first.at(range.start);
        let last = self
            .piece(range.end.max(range.start + 1) - 1)
            .unwrap_or(first);
        let end = if Arc::ptr_eq(&last.file, &first.file) && last.source.end >= first.source.start {
            last.upto(range.end)
        } else {
            first.source.end
        };
        Some((&first.file, start..end.max(start)))
    }

    fn piece(&self, offset: usize) -> Option<&Piece> {
        let after = self
            .pieces
            .partition_point(|piece| piece.script.end <= offset);
        // At the very end there is no byte: the last piece ends there.
        self.pieces.get(after).or(self.pieces.last())
    }
}

impl Piece {
    fn at(&self, offset: usize) -> usize {
        if self.exact {
            self.source.start
                + offset
                    .saturating_sub(self.script.start)
                    .min(self.source.len())
        } else {
            self.source.start
        }
    }

    /// Where a range that ends before `offset` ends.
    fn upto(&self, offset: usize) -> usize {
        if self.exact {
            self.at(offset)
        } else {
            self.source.end
        }
    }
}
