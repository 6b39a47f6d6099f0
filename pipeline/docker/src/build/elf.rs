//! Whether a program runs without any other file: read from the first part of it alone.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// The program header that names a loader.
const PT_INTERP: u64 = 3;

/// The most program headers that are looked at. Linkers write about a dozen.
const HEADERS_MAX: u64 = 1024;

/// The longest path of a loader that is quoted, in bytes: what a path may have on Linux.
const LOADER_MAX: u64 = 4096;

/// Why a file cannot be an image by itself.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It cannot be read.
    #[error("cannot read the program `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not a program of Linux.
    #[error("`{path}` is no program of Linux (no ELF executable): {reason}")]
    NotAProgram {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It needs a loader and libraries.
    #[error(
        "`{path}` is linked dynamically: it needs the loader `{loader}` and libraries, which an image from nothing does not have; link it statically (`-C target-feature=+crt-static`, or the target `x86_64-unknown-linux-musl`), or give the service a Dockerfile"
    )]
    Dynamic {
        /// Which.
        path: PathBuf,
        /// The loader that it asks for.
        loader: String,
    },
    /// Images have no name for its architecture.
    #[error(
        "`{path}` is for a processor that images have no name for (ELF machine {machine}): give the service a Dockerfile"
    )]
    Machine {
        /// Which.
        path: PathBuf,
        /// The number in its header.
        machine: u64,
    },
}

/// The architecture of a static program, as images name it.
///
/// # Errors
/// If it cannot be read, is no program, needs a loader, or is for an unknown processor.
pub(super) fn architecture_of_static(path: &Path) -> Result<&'static str, ElfError> {
    let read = |source| ElfError::Read { path: path.to_owned(), source };
    let not = |reason| ElfError::NotAProgram { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(read)?;
    if !file.metadata().map_err(read)?.is_file() {
        return Err(not("it is no file"));
    }
    let layout = Layout::read(&mut file)
        .map_err(|error| cut(path, error))?
        .ok_or_else(|| not("it does not begin as one"))?;
    if !matches!(layout.kind, ET_EXEC | ET_DYN) {
        return Err(not("it is an object file or a core dump"));
    }
    if layout.headers == 0 || layout.headers > HEADERS_MAX {
        return Err(not("it has no program headers, or too many"));
    }
    if let Some(loader) = layout.loader(&mut file).map_err(|error| cut(path, error))? {
        return Err(ElfError::Dynamic { path: path.to_owned(), loader });
    }
    architecture(&layout).ok_or_else(|| ElfError::Machine { path: path.to_owned(), machine: layout.machine })
}

const ET_EXEC: u64 = 2;
const ET_DYN: u64 = 3;

fn cut(path: &Path, source: io::Error) -> ElfError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::UnexpectedEof => ElfError::NotAProgram { path, reason: "it is cut short" },
        _ => ElfError::Read { path, source },
    }
}

/// Numbers of the ELF specification, as Go's `GOARCH` and so images name them.
fn architecture(layout: &Layout) -> Option<&'static str> {
    Some(match (layout.machine, layout.is_wide, layout.is_big) {
        (3, false, false) => "386",
        (62, true, false) => "amd64",
        (40, false, false) => "arm",
        (183, true, false) => "arm64",
        (243, true, false) => "riscv64",
        (21, true, false) => "ppc64le",
        (22, true, true) => "s390x",
        _ => return None,
    })
}

/// What the header of the file says.
struct Layout {
    is_wide: bool,
    is_big: bool,
    kind: u64,
    machine: u64,
    /// Where the program headers begin, how long one is, and how many there are.
    offset: u64,
    entry: u64,
    headers: u64,
}

impl Layout {
    /// `None` if it is no ELF file of a known form.
    fn read(file: &mut File) -> io::Result<Option<Self>> {
        let mut header = [0; 64];
        let mut filled = 0;
        while filled < header.len() {
            match file.read(&mut header[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        let is_known =
            header.starts_with(b"\x7fELF") && matches!(header[4], 1 | 2) && matches!(header[5], 1 | 2);
        if !is_known {
            return Ok(None);
        }
        let (is_wide, is_big) = (header[4] == 2, header[5] == 2);
        if filled < if is_wide { 64 } else { 52 } {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let at = |wide: (usize, usize), narrow: (usize, usize)| {
            let (start, len) = if is_wide { wide } else { narrow };
            number(&header[start..start + len], is_big)
        };
        Ok(Some(Self {
            is_wide,
            is_big,
            kind: at((16, 2), (16, 2)),
            machine: at((18, 2), (18, 2)),
            offset: at((32, 8), (28, 4)),
            entry: at((54, 2), (42, 2)),
            headers: at((56, 2), (44, 2)),
        }))
    }

    /// The loader that it asks for, if it does.
    fn loader(&self, file: &mut File) -> io::Result<Option<String>> {
        let mut header = vec![0; if self.is_wide { 56 } else { 32 }];
        for index in 0..self.headers {
            // Offsets from the file may be anything; one past its end is found when it is read.
            file.seek(SeekFrom::Start(self.offset.saturating_add(index * self.entry) & i64::MAX as u64))?;
            file.read_exact(&mut header)?;
            if number(&header[..4], self.is_big) != PT_INTERP {
                continue;
            }
            let (offset, size) = if self.is_wide { (8..16, 32..40) } else { (4..8, 16..20) };
            let (offset, size) = (number(&header[offset], self.is_big), number(&header[size], self.is_big));
            file.seek(SeekFrom::Start(offset & i64::MAX as u64))?;
            let mut loader = Vec::new();
            file.take(size.min(LOADER_MAX)).read_to_end(&mut loader)?;
            let loader = loader.split(|b| *b == 0).next().unwrap_or_default();
            return Ok(Some(String::from_utf8_lossy(loader).into_owned()));
        }
        Ok(None)
    }
}

fn number(bytes: &[u8], is_big: bool) -> u64 {
    let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    if is_big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn of(bytes: &[u8]) -> Result<&'static str, ElfError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, bytes).unwrap();
        architecture_of_static(&path)
    }

    #[test]
    fn a_program_that_needs_a_loader_is_refused_and_told_what_to_do() {
        // This test itself is linked as cargo links by default.
        let error = architecture_of_static(&std::env::current_exe().unwrap()).unwrap_err();
        assert!(matches!(&error, ElfError::Dynamic { loader, .. } if loader.contains("ld-")), "{error}");
        assert!(error.to_string().contains("+crt-static"), "{error}");
    }

    #[test]
    fn what_is_no_program_is_told_from_one_that_is_cut_short() {
        assert!(matches!(of(b"#!/bin/sh\n"), Err(ElfError::NotAProgram { .. })));
        assert!(matches!(of(b""), Err(ElfError::NotAProgram { .. })));
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        for len in [4, 5, 6, 20, 63, 64, 100] {
            let error = of(&program[..len]).unwrap_err();
            assert!(matches!(error, ElfError::NotAProgram { .. }), "{len}: {error}");
        }
        // Any of its first bytes may be wrong, and nothing panics.
        let head = &program[..program.len().min(4096)];
        for at in 0..128 {
            let mut damaged = head.to_vec();
            damaged[at] ^= 0xff;
            drop(of(&damaged));
        }
    }
}
