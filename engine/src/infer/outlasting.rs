//! A count that is to be found by others when this process has died.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{MmapMut, MmapOptions};

const SIZE: usize = size_of::<u64>();

/// Eight bytes, little-endian, of memory that is called a file.
///
/// They are mapped: to ask the system to write them costs a microsecond, which is much beside all else of a record.
pub struct Outlasting {
    bytes: MmapMut,
}

impl Outlasting {
    /// Returns those at `offset` of the file, which has to be as long already.
    pub fn at(file: &Path, offset: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(file)?;
        let ends = offset.checked_add(SIZE as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < ends {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self { bytes: map(&file, offset)? })
    }

    /// Stores a count, in one step.
    pub fn store(&mut self, count: u64) {
        self.bytes[..SIZE].copy_from_slice(&count.to_le_bytes());
    }
}

#[allow(unsafe_code)]
fn map(file: &File, offset: u64) -> io::Result<MmapMut> {
    // SAFETY: others read these bytes through mappings of their own, and nobody else writes them. Who cuts the file off
    // kills the process; it is in `/dev/shm`, forbidden to others, and Python has it mapped likewise.
    unsafe { MmapOptions::new().offset(offset).len(SIZE).map_mut(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shorter_is_refused_before_anything_is_stored_behind_its_end() {
        let place = std::env::temp_dir().join(format!("turnout-outlasting-{}", std::process::id()));
        std::fs::write(&place, [7; 15]).unwrap();
        let refused = [8, 4096, u64::MAX].map(|offset| Outlasting::at(&place, offset).map(|_| ()).unwrap_err().kind());
        let found = std::fs::read(&place).unwrap();
        std::fs::remove_file(&place).unwrap();
        let short = io::ErrorKind::UnexpectedEof;
        assert_eq!((refused, found), ([short, short, io::ErrorKind::InvalidInput], vec![7; 15]));
        assert!(Outlasting::at(&place, 0).is_err(), "nor is the file made");
    }
}
