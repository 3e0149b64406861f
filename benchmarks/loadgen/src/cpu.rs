//! What CPU a process and its descendants have used, from `/proc`.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// Linux counts CPU time for readers of `/proc` in hundredths of a second, whatever the kernel's own clock.
const TICK: Duration = Duration::from_millis(10);

struct Process {
    parent: u32,
    ticks: u64,
}

/// Return the CPU time, user and system, of process `pid` with all its threads, and of its descendants, those that have
/// ended and were waited for included; none where there is no such process.
pub fn used(pid: u32) -> Option<Duration> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some((number, process)) = number.and_then(|number| Some((number, read(&entry.path())?))) {
            found.insert(number, process);
        }
    }
    found.get(&pid)?;
    let ticks: u64 = found.iter().filter(|(one, _)| descends(**one, pid, &found)).map(|(_, one)| one.ticks).sum();
    Some(TICK * u32::try_from(ticks).ok()?)
}

/// Return what this process has used itself.
pub fn own() -> Duration {
    read(Path::new("/proc/self")).map_or(Duration::ZERO, |own| TICK * own.ticks as u32)
}

fn descends(mut pid: u32, from: u32, all: &HashMap<u32, Process>) -> bool {
    for _ in 0..64 {
        if pid == from {
            return true;
        }
        match all.get(&pid) {
            Some(process) if process.parent != 0 => pid = process.parent,
            _ => return false,
        }
    }
    false
}

fn read(directory: &Path) -> Option<Process> {
    parse(&std::fs::read_to_string(directory.join("stat")).ok()?)
}

fn parse(stat: &str) -> Option<Process> {
    // The second field is the program's name in parentheses, and may have anything in it.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    // Its own, and that of children that have ended: were that left out, CPU would vanish with each.
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Some(Process { parent: u32::try_from(number(1)?).ok()?, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_anything() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0";
        let found = parse(stat).unwrap();
        assert_eq!((found.parent, found.ticks), (3, 218));
        assert!(parse("7 (a").is_none());
        assert!(parse("7 (a) S 3").is_none());
    }

    #[test]
    fn work_shows() {
        let before = own();
        let mut sum = 0_u64;
        while own() < before + Duration::from_millis(30) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(used(std::process::id()).unwrap() >= own() - Duration::from_millis(30));
        assert!(used(u32::MAX).is_none());
    }

    #[test]
    fn descendants_count() {
        let process = |parent, ticks| Process { parent, ticks };
        let all = HashMap::from([(1, process(0, 1)), (5, process(1, 2)), (6, process(5, 4)), (7, process(1, 8))]);
        let below: u64 = all.iter().filter(|(pid, _)| descends(**pid, 5, &all)).map(|(_, one)| one.ticks).sum();
        assert_eq!(below, 6);
    }
}
