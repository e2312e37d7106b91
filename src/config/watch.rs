//! Notices that the policy on disk is another one.
//!
//! The kernel's notifications say when to look; what counts is the content. Directories are
//! watched, not files: editors and deployments replace a file by renaming another over it, and a
//! mounted ConfigMap changes by its `..data` link alone. Notifications get lost (network file
//! systems, exhausted inotify limits, a directory that was replaced), so the content is also
//! looked at from time to time.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::error::Problems;
use super::files::{Origin, Revision, gather_all};

/// Waits for changes of one policy, a file or a directory.
#[derive(Debug)]
pub struct Watch {
    origin: Origin,
    timing: Timing,
    last: Revision,
    watcher: Option<RecommendedWatcher>,
    sender: mpsc::Sender<()>,
    events: mpsc::Receiver<()>,
    /// Something happened and the content has not been looked at since.
    dirty: bool,
    next_poll: Instant,
}

/// How long a [`Watch`] waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long nothing must happen before the content is looked at: a file that is being
    /// written is not yet a policy.
    pub quiet: Duration,
    /// How long it may take until it is looked at all the same.
    pub patience: Duration,
    /// How often it is looked at without a notification.
    pub poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(250), patience: Duration::from_secs(2), poll: Duration::from_secs(5) }
    }
}

impl Watch {
    /// Watches the policy at `path`, of which `loaded` is known: what changed between reading it
    /// and this call is noticed too. Runs inside a tokio runtime with a clock.
    pub fn new(origin: &Origin, loaded: &Revision, timing: Timing) -> Self {
        let (sender, events) = mpsc::channel(1);
        let mut watch = Self {
            origin: origin.clone(),
            timing,
            last: loaded.clone(),
            watcher: None,
            sender,
            events,
            dirty: true,
            next_poll: Instant::now(),
        };
        watch.arm();
        watch
    }

    /// Completes when the content is another than last time, with its revision; the policy is
    /// then to be read again. A policy that is gone or unreadable is a change as well, and so is
    /// its return. May be dropped and called again: nothing is missed.
    pub async fn changed(&mut self) -> Revision {
        loop {
            let mut notified = self.dirty;
            if !self.dirty {
                tokio::select! {
                    // `self.sender` keeps the channel open.
                    _ = self.events.recv() => notified = true,
                    () = sleep_until(self.next_poll) => {}
                }
                self.dirty = true;
            }
            if notified {
                self.settle().await;
            }
            let revision = self.look().await;
            self.dirty = false;
            self.next_poll = Instant::now() + self.timing.poll;
            let Some(revision) = revision.filter(|revision| *revision != self.last) else {
                continue;
            };
            // The directory may be another one by now, and the policy a link to another place.
            // What happened there before it was watched is found by looking once more.
            self.arm();
            self.dirty = true;
            self.last = revision.clone();
            return revision;
        }
    }

    async fn settle(&mut self) {
        let latest = Instant::now() + self.timing.patience;
        loop {
            let until = latest.min(Instant::now() + self.timing.quiet);
            match timeout_at(until, self.events.recv()).await {
                Ok(_) if Instant::now() < latest => {}
                _ => return,
            }
        }
    }

    /// The revision of what is on disk; `None` if the runtime is shutting down.
    async fn look(&self) -> Option<Revision> {
        let origin = self.origin.clone();
        // A network file system may keep the reader waiting; it must not keep the runtime.
        tokio::task::spawn_blocking(move || Revision::of(&gather_all(&origin, &mut Problems::default()))).await.ok()
    }

    fn arm(&mut self) {
        let targets = Targets::of(&self.origin);
        let folders = targets.folders.clone();
        let sender = self.sender.clone();
        let armed = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| targets.concern(&event)) {
                // A full channel already says all there is to say.
                let _ = sender.try_send(());
            }
        })
        .and_then(|mut watcher| {
            for folder in &folders {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        self.watcher = match armed {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(
                    path = %self.origin.policy.display(), %error, every = ?self.timing.poll,
                    "the policy cannot be watched; its content is polled instead"
                );
                None
            }
        };
    }
}

/// The directories whose entries make up a policy.
struct Targets {
    folders: Vec<PathBuf>,
    /// The names in them that count; `None`: every name.
    names: Option<Vec<OsString>>,
}

impl Targets {
    fn of(origin: &Origin) -> Self {
        let mut all = Self::of_path(&origin.policy);
        if let Some(path) = &origin.organization {
            let Self { folders, names } = Self::of_path(path);
            all.folders.extend(folders.into_iter().filter(|folder| !all.folders.contains(folder)).collect::<Vec<_>>());
            all.names = all.names.zip(names).map(|(all, more)| [all, more].concat());
        }
        all
    }

    fn of_path(path: &Path) -> Self {
        if path.is_dir() {
            return Self { folders: vec![path.to_owned()], names: None };
        }
        let (mut folders, mut names) = (Vec::new(), Vec::new());
        // Where the path leads is watched beside the path itself: it may be a link.
        for file in [Some(path.to_owned()), std::fs::canonicalize(path).ok()].into_iter().flatten() {
            let folder = match file.parent() {
                Some(folder) if folder != Path::new("") => folder.to_owned(),
                _ => PathBuf::from("."),
            };
            if !folders.contains(&folder) {
                folders.push(folder);
            }
            names.extend(file.file_name().map(OsStr::to_owned));
        }
        Self { folders, names: Some(names) }
    }

    fn concern(&self, event: &notify::Event) -> bool {
        // Reading the policy is an event too, and must not cause the next reading.
        let mere_access =
            matches!(event.kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write));
        if mere_access {
            return false;
        }
        let Some(names) = &self.names else {
            return true;
        };
        event.need_rescan()
            || event.paths.iter().any(|path| {
                let Some(name) = path.file_name() else {
                    return true;
                };
                names.iter().any(|wanted| wanted == name)
                    || name.to_string_lossy().starts_with("..")
                    || self.folders.iter().any(|folder| folder == path)
            })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const FIRST: &str = "allowedDomains: [a.example]\n";
    const SECOND: &str = "allowedDomains: [b.example]\n";

    /// So rare that it cannot be what noticed a change.
    const NEVER: Duration = Duration::from_secs(3600);

    fn revision(text: &str) -> Revision {
        super::super::parse("p", text).revision().clone()
    }

    fn timing(poll: Duration) -> Timing {
        Timing { quiet: Duration::from_millis(20), poll, ..Timing::default() }
    }

    fn read(path: &Path) -> Revision {
        super::super::read(&Origin::of(path)).revision().clone()
    }

    fn watch(path: &Path, poll: Duration) -> Watch {
        Watch::new(&Origin::of(path), &read(path), timing(poll))
    }

    /// A watch that has seen what is on disk, so that only notifications can wake it.
    async fn settled(path: &Path) -> Watch {
        let mut watch = watch(path, NEVER);
        unchanged(&mut watch).await;
        watch
    }

    async fn next(watch: &mut Watch) -> Revision {
        let revision = next_of_several(watch).await;
        // After a change it looks once more; only then does the next one need a notification.
        unchanged(watch).await;
        revision
    }

    /// Where one act is seen as two changes, such as gone and back.
    async fn next_of_several(watch: &mut Watch) -> Revision {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("the change is noticed")
    }

    async fn unchanged(watch: &mut Watch) {
        let outcome = tokio::time::timeout(Duration::from_millis(200), watch.changed()).await;
        assert!(outcome.is_err(), "nothing changed, but {outcome:?} was reported");
    }

    #[test]
    fn only_what_may_change_the_policy_wakes_the_watch() {
        use notify::Event;
        use notify::event::{CreateKind, ModifyKind};

        let targets =
            Targets { folders: vec![PathBuf::from("/etc/policy")], names: Some(vec![OsString::from("policy.yaml")]) };
        let write = EventKind::Modify(ModifyKind::Any);
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let create = EventKind::Create(CreateKind::Any);
        for (kind, path, concerned) in [
            (write, "/etc/policy/policy.yaml", true),
            (written, "/etc/policy/policy.yaml", true),
            (create, "/etc/policy/..data", true),
            (write, "/etc/policy", true),
            (open, "/etc/policy/policy.yaml", false),
            (read, "/etc/policy/policy.yaml", false),
            (write, "/etc/policy/other.yaml", false),
        ] {
            let event = Event::new(kind).add_path(PathBuf::from(path));
            assert_eq!(targets.concern(&event), concerned, "{event:?}");
        }
    }

    #[tokio::test]
    async fn a_file_rewritten_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, FIRST).unwrap();
        let mut watch = settled(&path).await;
        fs::write(&path, SECOND).unwrap();
        assert_eq!(next(&mut watch).await, revision(SECOND));
        fs::write(&path, FIRST).unwrap();
        assert_eq!(next(&mut watch).await, revision(FIRST));
    }

    #[tokio::test]
    async fn a_file_renamed_over_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, FIRST).unwrap();
        let mut watch = settled(&path).await;
        for text in [SECOND, FIRST] {
            fs::write(folder.path().join("new"), text).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
            assert_eq!(next(&mut watch).await, revision(text));
        }
    }

    /// As kubelet updates a volume: files are links through `..data`, which is renamed over.
    fn publish(volume: &Path, snapshot: &str, text: &str) {
        fs::create_dir(volume.join(snapshot)).unwrap();
        fs::write(volume.join(snapshot).join("policy.yaml"), text).unwrap();
        symlink(snapshot, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        if fs::symlink_metadata(volume.join("policy.yaml")).is_err() {
            symlink("..data/policy.yaml", volume.join("policy.yaml")).unwrap();
        }
    }

    #[tokio::test]
    async fn a_config_map_swapped() {
        for name in ["policy.yaml", ""] {
            let folder = tempfile::tempdir().unwrap();
            publish(folder.path(), "..1", FIRST);
            let path = folder.path().join(name);
            let mut watch = settled(&path).await;
            publish(folder.path(), "..2", SECOND);
            assert_eq!(next(&mut watch).await, revision(SECOND), "{name:?}");
            fs::remove_dir_all(folder.path().join("..1")).unwrap();
            unchanged(&mut watch).await;
            publish(folder.path(), "..3", FIRST);
            assert_eq!(next(&mut watch).await, revision(FIRST), "{name:?}");
        }
    }

    #[tokio::test]
    async fn the_organization_is_watched_too() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [policy, organization] = folders.each_ref().map(|folder| folder.path().join("policy.yaml"));
        fs::write(&policy, FIRST).unwrap();
        fs::write(&organization, "organization: {blockedDomains: [a.example]}\n").unwrap();
        let origin = Origin { policy: policy.clone(), organization: Some(organization.clone()) };
        let loaded = super::super::read(&origin).revision().clone();
        let mut watch = Watch::new(&origin, &loaded, timing(NEVER));
        unchanged(&mut watch).await;
        fs::write(&organization, "organization: {blockedDomains: [b.example]}\n").unwrap();
        let changed = next(&mut watch).await;
        assert_ne!(changed, loaded);
        fs::write(&policy, SECOND).unwrap();
        assert_ne!(next(&mut watch).await, changed);
        fs::remove_file(&organization).unwrap();
        next(&mut watch).await;
    }

    #[tokio::test]
    async fn deletion_and_return() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, FIRST).unwrap();
        let mut watch = settled(&path).await;
        fs::remove_file(&path).unwrap();
        assert_eq!(next(&mut watch).await, Revision::of(&[]));
        fs::write(&path, FIRST).unwrap();
        assert_eq!(next(&mut watch).await, revision(FIRST));
    }

    #[tokio::test]
    async fn a_directory_gains_changes_and_loses_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), FIRST).unwrap();
        let mut watch = settled(folder.path()).await;
        let second = folder.path().join("b.yaml");
        fs::write(&second, SECOND).unwrap();
        let both = next(&mut watch).await;
        assert_ne!(both, revision(FIRST));
        fs::write(&second, "blockedDomains: [c.example]\n").unwrap();
        assert_ne!(next(&mut watch).await, both);
        fs::remove_file(&second).unwrap();
        assert_eq!(next(&mut watch).await, revision(FIRST));
    }

    #[tokio::test]
    async fn what_is_written_again_unchanged_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, FIRST).unwrap();
        let mut watch = settled(&path).await;
        fs::write(&path, FIRST).unwrap();
        fs::write(folder.path().join("other"), SECOND).unwrap();
        unchanged(&mut watch).await;
    }

    #[tokio::test]
    async fn a_change_before_the_watch_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, FIRST).unwrap();
        let loaded = read(&path);
        fs::write(&path, SECOND).unwrap();
        let mut watch = Watch::new(&Origin::of(&path), &loaded, timing(NEVER));
        assert_eq!(next(&mut watch).await, revision(SECOND));
    }

    #[tokio::test]
    async fn a_replaced_folder_is_found_by_polling_and_watched_again() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("policies");
        let path = folder.join("policy.yaml");
        fs::create_dir(&folder).unwrap();
        fs::write(&path, FIRST).unwrap();
        let mut watch = watch(&path, Duration::from_millis(50));
        unchanged(&mut watch).await;
        fs::rename(&folder, outer.path().join("old")).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(&path, SECOND).unwrap();
        while next_of_several(&mut watch).await != revision(SECOND) {}
        unchanged(&mut watch).await;
        watch.timing.poll = NEVER;
        watch.next_poll = Instant::now() + NEVER;
        fs::write(&path, FIRST).unwrap();
        assert_eq!(next(&mut watch).await, revision(FIRST));
    }

    #[tokio::test]
    async fn without_notifications_the_content_is_polled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, FIRST).unwrap();
        let mut watch = watch(&path, Duration::from_millis(50));
        watch.watcher = None;
        unchanged(&mut watch).await;
        fs::write(&path, SECOND).unwrap();
        assert_eq!(next(&mut watch).await, revision(SECOND));
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        fs::write(&path, FIRST).unwrap();
        let mut watch = settled(&path).await;
        fs::write(&path, SECOND).unwrap();
        for _ in 0..20 {
            let wait = tokio::time::timeout(Duration::from_millis(5), watch.changed()).await;
            if let Ok(seen) = wait {
                assert_eq!(seen, revision(SECOND));
                return;
            }
        }
        assert_eq!(next(&mut watch).await, revision(SECOND));
    }
}
