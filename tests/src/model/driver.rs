//! Doing to the real program what the model says, and looking at what comes of it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File as Opened},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::process::Signal;
use serde_json::Value;

mod clients;

use super::{
    Act, Command, End, Fault, File, KIND, Op, Seen, Step, Version, Violation, World, check_calls,
    settings, version_of,
};
use crate::{
    Host, artifacts,
    deploy::{Artifact, Way, touch},
    host::Site,
    log::Event,
};
use clients::Clients;

const APP: &str = "fixture-probe";
const MOUNT: &str = "/fixture-probe";
/// More versions than there are in any sequence.
const MOST: Version = 300;

/// Does all that to an app of a host of its own, and compares after each step what there is with
/// what must be.
///
/// # Errors
/// With what is not as it must be, and the host's log.
///
/// # Panics
/// When what must come does not come in time.
pub async fn run(ops: &[Op]) -> Result<(), Violation> {
    let mut driver = Driver::new().await;
    for (number, op) in ops.iter().enumerate() {
        driver.loads_at_once = driver.world.loads_at_once();
        let step = driver.world.apply(*op);
        // Shown when the test fails.
        println!("{number}: {step:?}");
        if let Err(Violation(what)) = driver.step(&step).await {
            let log = &driver.host.log;
            return Err(Violation(format!("step {number}: {what}\n{log}")));
        }
    }
    driver.check_calls()
}

struct Driver {
    site: Site,
    host: Host,
    args: Vec<String>,
    clients: Clients,
    world: World,
    /// A change would have been loaded, and state handed over, when the step began.
    loads_at_once: bool,
    library: PathBuf,
    calls: PathBuf,
    /// The time that each version's file had.
    times: HashMap<Version, SystemTime>,
    /// The digest of each version that has served.
    digests: HashMap<Version, String>,
    /// The generation that served last, and whether one did.
    generation: Option<u64>,
}

/// How many events there were before a step.
struct Marks(HashMap<String, usize>);

impl Driver {
    async fn new() -> Self {
        let site = Site::new();
        let calls = site.path().join("calls");
        let args = args(&site, &calls);
        let host = serve(&site, &args).await;
        Self {
            clients: Clients::start(&host.address, MOUNT),
            library: site.library("probe"),
            site,
            host,
            args,
            world: World::new(false),
            loads_at_once: false,
            calls,
            times: HashMap::new(),
            digests: HashMap::new(),
            generation: None,
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), Violation> {
        let mut marks = self.marks();
        // What is counted after a kill is compared with nothing that was counted before it.
        let mut held = None;
        if let Act::Kill(version) = step.act {
            let mut counts = self.clients.hold_counts().await;
            self.world.counted(std::mem::take(&mut counts))?;
            held = Some(counts);
            self.kill(version, &marks).await?;
            marks = Marks(HashMap::new());
        }
        let done = self.act(step).await?;
        self.wait(step, &marks, done).await?;
        let answers = self.clients.take_answers().await.map_err(Violation)?;
        step.check_answers(&answers)?;
        if self.clients.have_ended() {
            return Err(Violation("a client has ended".to_owned()));
        }
        let mut counts = match held {
            Some(counts) => counts,
            None => self.clients.hold_counts().await,
        };
        self.world.counted(std::mem::take(&mut counts))?;
        let seen = self.look().await;
        drop(counts);
        self.world.saw(step, &seen)?;
        self.generation = seen.generation;
        Ok(())
    }

    /// Does it; for a command, whether the host has done it.
    async fn act(&mut self, step: &Step) -> Result<Option<bool>, Violation> {
        match step.act {
            Act::Nothing | Act::Kill(_) => {}
            Act::Put(file, way) => {
                artifact(file).install_by(way, &self.library);
                if let File::Whole(version) = file {
                    let time = fs::metadata(&self.library).and_then(|it| it.modified());
                    self.times.entry(version).or_insert(time.unwrap());
                }
            }
            Act::PutBack(file) => self.put_back(file),
            Act::Touch => touch(&self.library),
            Act::Remove => fs::remove_file(&self.library).unwrap(),
            Act::Ask(command) => return Ok(Some(self.ask(command).await)),
            // The client counts all the time.
            Act::Count(times) => {
                let mut counts = self.clients.hold_counts().await;
                let mut connection = self.host.connect().await;
                for _ in 0..times {
                    let text = connection.post(&format!("{MOUNT}/count"), "").await.text;
                    let number = text.trim().parse();
                    counts.push(number.map_err(|_| Violation(format!("no count: {text}")))?);
                }
            }
        }
        Ok(None)
    }

    fn put_back(&self, file: File) {
        let new = self.site.path().join("put-back.so");
        artifact(file).install_by(Way::CopyInPlace, &new);
        if let File::Whole(version) = file {
            let opened = Opened::options().append(true).open(&new).unwrap();
            let time = self.times.get(&version).copied();
            opened
                .set_modified(time.unwrap_or(SystemTime::UNIX_EPOCH))
                .unwrap();
        }
        fs::rename(&new, &self.library).unwrap();
    }

    async fn ask(&self, command: Command) -> bool {
        let path = self.library.to_str().expect("UTF-8");
        let ended = match command {
            Command::RollBack => self.site.ask(&["rollback", path]).await,
            Command::Pin(None) => self.site.ask(&["pin", path]).await,
            Command::Pin(Some(version)) => {
                self.site.ask(&["pin", path, &self.digests[&version]]).await
            }
            Command::Unpin => self.site.ask(&["unpin", path]).await,
            Command::Reload => self.site.ask(&["reload", path, "--no-guard"]).await,
        };
        ended.code == Some(0)
    }

    /// Kills the host anywhere in a load, and starts it again.
    async fn kill(&mut self, version: Version, marks: &Marks) -> Result<(), Violation> {
        let mut random = fastrand::Rng::with_seed(version);
        artifact(File::Whole(version)).install(&self.library);
        // The old generation's requests are waited for; the new one serves, and the old one's state
        // is being written; or earlier than either.
        match random.u8(..3) {
            0 if self.loads_at_once => drop(self.next(marks, "pausing").await),
            1 if self.loads_at_once => drop(self.next(marks, "serving").await),
            _ => {}
        }
        for _ in 0..random.u32(..3_000) {
            tokio::task::yield_now().await;
        }
        self.host.signal(Signal::KILL);
        self.host.exit().await;
        check_calls(&fs::read_to_string(&self.calls).unwrap_or_default())?;
        let _ = fs::remove_file(&self.calls);
        self.host = serve(&self.site, &self.args).await;
        self.clients.moved(&self.host.address);
        Ok(())
    }

    /// Waits for what ends the step.
    async fn wait(
        &mut self,
        step: &Step,
        marks: &Marks,
        done: Option<bool>,
    ) -> Result<(), Violation> {
        let expected = !matches!(step.end, End::Denied);
        if done.is_some_and(|done| done != expected) {
            return Err(Violation(format!("done: {done:?} of {step:?}")));
        }
        match step.end {
            End::Nothing | End::Done | End::Denied => {}
            End::Refused => drop(self.next(marks, "refused").await),
            End::Noted => drop(self.next(marks, "changed").await),
            End::Unmounted => {
                self.next(marks, "unmounted").await;
                self.gone(marks).await;
                self.check_calls()?;
                let _ = fs::remove_file(&self.calls);
            }
            End::Serving | End::Restarted => {
                let serving = self.next(marks, "serving").await;
                if let Some(version) = step.after {
                    let digest = serving.text("digest").to_owned();
                    self.digests.insert(version, digest);
                }
                if step.end == End::Serving {
                    self.gone(marks).await;
                }
            }
        }
        Ok(())
    }

    /// Waits until the generation that served before the step has been stopped.
    async fn gone(&mut self, marks: &Marks) {
        if self.generation.is_some() {
            self.next(marks, "retired").await;
            self.world.retired();
        }
    }

    /// The next event of that kind since the step began.
    async fn next(&self, marks: &Marks, kind: &str) -> Event {
        let before = marks.0.get(kind).copied().unwrap_or_default();
        let wanted = |event: &Event| kind_of(event) == kind;
        self.host.log.wait_for_nth(kind, before + 1, wanted).await
    }

    fn marks(&self) -> Marks {
        let mut marks = HashMap::new();
        for event in self.host.log.all(|_| true) {
            *marks.entry(kind_of(&event).to_owned()).or_default() += 1;
        }
        Marks(marks)
    }

    async fn look(&self) -> Seen {
        let registry = self.site.ask(&["registry", "--json"]).await;
        let registry: Vec<Value> = serde_json::from_str(&registry.stdout).unwrap_or_default();
        let of_kind = |kind| registry.iter().filter(move |entry| entry["kind"] == kind);
        let key = |entry: &Value| entry["key"].as_str().unwrap_or_default().to_owned();
        let registered: BTreeMap<String, u64> = of_kind(KIND)
            .map(|entry| (key(entry), entry["value"].as_u64().unwrap_or(u64::MAX)))
            .collect();
        let app = format!("{APP}/");
        let schedules = of_kind("schedule").map(|entry| key(entry).replacen(&app, "", 1));
        let mut seen = Seen {
            registered,
            schedules: schedules.collect(),
            ..Seen::default()
        };
        let mut connection = self.host.connect().await;
        let info = connection.get(&format!("{MOUNT}/info")).await;
        if info.status == http::StatusCode::OK {
            let info: Value = serde_json::from_str(&info.text).unwrap_or_default();
            seen.version = info["version"].as_u64();
            seen.generation = info["generation"].as_u64();
            let count = connection.get(&format!("{MOUNT}/count")).await.text;
            seen.count = count.trim().parse().ok();
        }
        seen
    }

    fn check_calls(&self) -> Result<(), Violation> {
        check_calls(&fs::read_to_string(&self.calls).unwrap_or_default())
    }
}

/// What has served is retired; what never did is something else.
fn kind_of(event: &Event) -> &str {
    match event.kind() {
        "retired" if event.text("stop") == "abandoned" => "abandoned",
        kind => kind,
    }
}

fn artifact(file: File) -> Artifact {
    match file {
        File::Whole(version) => artifacts::probe(version),
        File::Broken(Fault::CutShort) => artifacts::probe(9_000).cut_short(),
        File::Broken(Fault::OtherAbi) => artifacts::probe(9_000).of_another_abi(),
        File::Broken(fault) => match version_of(fault) {
            Some(version) => artifacts::probe(version),
            None => Artifact::new("no library"),
        },
        File::Absent => Artifact::new(""),
    }
}

fn args(site: &Site, calls: &Path) -> Vec<String> {
    let state = site.path().join("state");
    let state = state.to_str().expect("UTF-8");
    let mut args: Vec<String> = ["--guard", "0s", "--state-dir", state]
        .map(str::to_owned)
        .into();
    let Value::Object(settings) = settings(MOST, calls) else {
        return args;
    };
    for (key, value) in settings {
        let value = toml::Value::try_from(value).expect("it has no null");
        args.extend(["--set".to_owned(), format!("{APP}.{key}={value}")]);
    }
    args
}

async fn serve(site: &Site, args: &[String]) -> Host {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    site.serve_apps(&args).await
}
