//! How much memory this process may still take, and which limit says so: free memory, limits of the process, and those
//! of its control groups (Linux; elsewhere unknown).

use std::fs;
use std::path::{Path, PathBuf};

use rlimit::Resource;

/// What a limit leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Headroom {
    /// Bytes that can be taken before the limit is reached.
    pub(crate) bytes: u64,
    /// The limit, as a subject of a sentence: `RLIMIT_DATA (ulimit -d)`.
    pub(crate) limit: &'static str,
}

/// The smallest of all limits; `None` where none is known.
pub(crate) fn headroom() -> Option<Headroom> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (meminfo, status) = (read("/proc/meminfo"), read("/proc/self/status"));
    let free = kib(&meminfo, "MemAvailable:").map(|bytes| Headroom { bytes, limit: "the free memory" });
    let of_process = [
        (Resource::AS, "VmSize:", "RLIMIT_AS (ulimit -v)"),
        (Resource::DATA, "VmData:", "RLIMIT_DATA (ulimit -d)"),
    ];
    let of_process = of_process.into_iter().filter_map(|(resource, used, limit)| {
        Some(Headroom { bytes: soft_limit(resource)?.saturating_sub(kib(&status, used)?), limit })
    });
    let groups = control_groups(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
    let of_groups = groups.iter().filter_map(ControlGroup::headroom);
    free.into_iter().chain(of_process).chain(of_groups).min_by_key(|headroom| headroom.bytes)
}

/// The soft limit of a resource; `None` where there is none.
fn soft_limit(resource: Resource) -> Option<u64> {
    resource.get().ok().map(|(soft, _)| soft).filter(|soft| *soft != rlimit::INFINITY)
}

/// What the limit of data (`ulimit -d`) leaves beside anonymous memory in use without `uncounted_bytes`, and stacks of
/// `stack_bytes` a thread; `None` where there is no limit, or the system does not say.
pub(crate) fn data_left(uncounted_bytes: u64, stack_bytes: u64) -> Option<u64> {
    let limit = soft_limit(Resource::DATA)?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let in_use = kib(&status, "RssAnon:")?.saturating_sub(uncounted_bytes);
    Some(limit.saturating_sub(in_use + number(&status, "Threads:")? * stack_bytes))
}

/// The greatest resident memory of this process so far, mapped files included (Linux; elsewhere unknown).
pub(crate) fn peak_so_far() -> Option<u64> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// The number of a line such as `Threads:   5`.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The bytes of a line such as `VmSize:   123 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    number(text, name).map(|kib| kib * 1024)
}

/// A hierarchy of control groups that limits memory.
struct ControlGroup {
    version: Version,
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The group of this process, below the mount.
    folder: PathBuf,
}

/// The names of what a version of control groups tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    limit: &'static str,
    max: &'static str,
    current: &'static str,
    /// The line of `memory.stat` with the page cache that is given back at once.
    cache: &'static str,
}

const V1: Version = Version {
    limit: "memory.limit_in_bytes of the control group",
    max: "memory.limit_in_bytes",
    current: "memory.usage_in_bytes",
    cache: "total_inactive_file ",
};

const V2: Version = Version {
    limit: "memory.max of the control group",
    max: "memory.max",
    current: "memory.current",
    cache: "inactive_file ",
};

/// The groups of the process, from the text of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn control_groups(groups: &str, mounts: &str) -> Vec<ControlGroup> {
    let path_of = |is_it: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            is_it(controllers).then_some(path)
        })
    };
    let mut found = Vec::new();
    for line in mounts.lines() {
        // ID parent device root mount options [tags] - type source options
        let Some((before, behind)) = line.split_once(" - ") else { continue };
        let (before, behind): (Vec<_>, Vec<_>) = (before.split(' ').collect(), behind.split(' ').collect());
        let (&[_, _, _, root, mount, ..], &[kind, .., options]) = (&before[..], &behind[..]) else {
            continue;
        };
        let has_memory = |list: &str| list.split(',').any(|name| name == "memory");
        let (version, path) = match kind {
            "cgroup2" => (V2, path_of(&str::is_empty)),
            "cgroup" if has_memory(options) => (V1, path_of(&has_memory)),
            _ => continue,
        };
        let Some(path) = path else { continue };
        // In a container the mount begins at the container's own group.
        let path = Path::new(path);
        let below = path.strip_prefix(root).or_else(|_| path.strip_prefix("/")).unwrap_or(path);
        found.push(ControlGroup { version, mount: mount.into(), folder: Path::new(mount).join(below) });
    }
    found
}

impl ControlGroup {
    /// What the group and those above it leave.
    fn headroom(&self) -> Option<Headroom> {
        let Version { limit, max, current, cache } = self.version;
        let of_folder = |folder: &Path| {
            let number = |name| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
            let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse::<u64>().ok());
            let used = number(current)?.saturating_sub(cached.unwrap_or(0));
            // Version 2 says `max` where there is no limit, version 1 a number beyond any memory.
            Some(Headroom { bytes: number(max)?.saturating_sub(used), limit })
        };
        let folders = self.folder.ancestors().take_while(|folder| folder.starts_with(&self.mount));
        folders.filter_map(of_folder).min_by_key(|headroom| headroom.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    #[test]
    fn a_group_of_either_version_and_those_above_it_limit() {
        let root = tempfile::tempdir().unwrap();
        let (v1, v2) = (root.path().join("v1"), root.path().join("v2"));
        let mounts = format!(
            "31 23 0:28 / /tmp rw - tmpfs tmpfs rw,mode=755\n\
             35 31 0:32 / {} rw,relatime - cgroup cgroup rw,memory\n\
             41 31 0:38 /docker/7 {} rw,relatime shared:9 - cgroup2 cgroup2 rw\n",
            v1.display(),
            v2.display()
        );
        let groups = "4:cpu,memory:/a/b\n1:cpu:/x\n0::/docker/7/c\n";
        let of = |version: Version| {
            let groups = control_groups(groups, &mounts);
            assert_eq!(groups.len(), 2);
            groups.iter().find(|group| group.version == version).unwrap().headroom()
        };
        assert_eq!((of(V1), of(V2)), (None, None), "there are no such folders");
        write(&v1, &[(V1.max, "9223372036854771712\n"), (V1.current, "900\n")]);
        write(&v1.join("a"), &[(V1.max, "1000\n"), (V1.current, "500\n"), ("memory.stat", "cache 1\n")]);
        let stat = "inactive_file 1\ntotal_inactive_file 100\n";
        write(&v1.join("a/b"), &[(V1.max, "800\n"), (V1.current, "200\n"), ("memory.stat", stat)]);
        assert_eq!(of(V1), Some(Headroom { bytes: 500, limit: V1.limit }));
        fs::write(v1.join("a").join(V1.current), "10\n").unwrap();
        assert_eq!(of(V1).unwrap().bytes, 700, "the page cache is given back");
        write(&v2, &[(V2.max, "max\n"), (V2.current, "900\n")]);
        write(&v2.join("c"), &[(V2.max, "max\n"), (V2.current, "900\n")]);
        assert_eq!(of(V2), None, "max is no limit");
        fs::write(v2.join(V2.max), "850\n").unwrap();
        assert_eq!(of(V2), Some(Headroom { bytes: 0, limit: V2.limit }));
    }

    #[test]
    fn this_process_has_a_limit() {
        let found = headroom().unwrap();
        assert!(found.bytes > 0 && !found.limit.is_empty());
    }
}
