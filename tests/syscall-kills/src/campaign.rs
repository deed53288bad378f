//! Every scenario at every point, or at a sample of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::Args;
use crate::oracle::{Reference, Round, findings};
use crate::place::Place;
use crate::scenarios::{self, Scenario};
use crate::trace::{Point, Side, Traced, trace};

const TEMPLATE: &str = "template";

/// How a campaign ended.
pub(crate) enum Outcome {
    Passed,
    Violated,
    NotPermitted(String),
}

/// What happened to a scenario, as its workers tell it.
enum News {
    /// A round: killed as meant, or the command had ended before that.
    Round { was_killed: bool },
    /// What did not hold, where.
    Violation { point: Point, call: String, problems: Vec<String> },
    /// The scenario itself does not work.
    Broken(String),
}

/// A campaign over one program.
struct Campaign<'a> {
    args: &'a Args,
    program: PathBuf,
    directory: TempDir,
}

pub(crate) fn run(args: &Args) -> Result<Outcome, String> {
    let directory = match Path::new("/dev/shm").is_dir() {
        true => TempDir::with_prefix_in("wreckit-kills-", "/dev/shm"),
        false => TempDir::with_prefix("wreckit-kills-"),
    };
    let directory = directory.map_err(|error| error.to_string())?;
    let campaign = Campaign { args, program: program(args)?, directory };
    if let Err(reason) = campaign.can_trace() {
        return Ok(Outcome::NotPermitted(reason));
    }
    let (mut rounds, mut violations) = (0, 0);
    let is_chosen = |scenario: &&Scenario| {
        let mut chosen = args.scenarios.iter();
        args.scenarios.is_empty() || chosen.any(|part| scenario.name.contains(part.as_str()))
    };
    for scenario in scenarios::all().filter(is_chosen) {
        let count = campaign.scenario(scenario)?;
        rounds += count.0;
        violations += count.1;
    }
    println!("{rounds} kills, {violations} violations");
    Ok(if violations == 0 { Outcome::Passed } else { Outcome::Violated })
}

/// The program under test.
fn program(args: &Args) -> Result<PathBuf, String> {
    let beside = || {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        Ok::<PathBuf, String>(this.with_file_name("wreckit-host"))
    };
    let program = args.program.clone().map_or_else(beside, Ok)?;
    fs::canonicalize(&program).map_err(|error| format!("{}: {error}", program.display()))
}

impl Campaign<'_> {
    fn can_trace(&self) -> Result<(), String> {
        let place = self.place("probe").map_err(|error| error.clone())?;
        let command = place.traced(&["--version".to_owned()]).map_err(|error| error.to_string())?;
        let traced = trace(command, None, &place.round())?;
        match (traced.code, traced.calls.is_empty()) {
            (Some(0), false) => Ok(()),
            _ => Err(format!("{traced:?}")),
        }
    }

    fn place(&self, name: &str) -> Result<Place, String> {
        Place::new(self.directory.path().join(name), &self.program)
            .map_err(|error| error.to_string())
    }

    /// Runs a scenario; returns how many rounds were killed and how many points had violations.
    fn scenario(&self, scenario: &Scenario) -> Result<(usize, usize), String> {
        let start = Instant::now();
        let first = Worker::prepare(scenario, self.place("worker-0")?)?;
        let points = self.points(&first.calls);
        if self.args.list {
            println!("{}:", scenario.name);
            for (index, call) in first.calls.iter().enumerate() {
                println!("  {} {call}", index + 1);
            }
            return Ok((0, 0));
        }
        let count = points.len();
        let calls = first.calls.len();
        let queue = Mutex::new(points.into_iter());
        let next = || queue.lock().ok().and_then(|mut points| points.next());
        let (sender, news) = mpsc::channel();
        let mut totals = (0, 0, 0);
        let broken = thread::scope(|scope| {
            let jobs = self.args.jobs.clamp(1, count.max(1));
            let mut first = Some(first);
            for job in 0..jobs {
                let worker = first.take();
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    let prepare =
                        || Worker::prepare(scenario, self.place(&format!("worker-{job}"))?);
                    match worker.map_or_else(prepare, Ok) {
                        Ok(worker) => worker.work(next, self.args.keep.as_deref(), &sender),
                        Err(error) => drop(sender.send(News::Broken(error))),
                    }
                });
            }
            drop(sender);
            tell(scenario, news, &mut totals)
        });
        let (killed, missed, violations) = totals;
        println!(
            "{}: {calls} calls, {killed} kills, {missed} points not reached, {violations} violations, {:.0?}",
            scenario.name,
            start.elapsed(),
        );
        match broken {
            Some(error) => Err(format!("{}: {error}", scenario.name)),
            None => Ok((killed, violations)),
        }
    }

    /// Where to kill: everywhere, or at a sample.
    fn points(&self, calls: &[String]) -> Vec<Point> {
        if let Some(point) = self.args.at {
            return vec![point];
        }
        let sides = |(index, call): (usize, &String)| {
            // A process does not return from its end.
            let sides: &[Side] =
                if call == "exit_group" { &[Side::Entry] } else { &[Side::Entry, Side::Exit] };
            sides.iter().map(move |side| Point { call: index + 1, side: *side })
        };
        let mut points: Vec<Point> = calls.iter().enumerate().flat_map(sides).collect();
        let Some(sample) = self.args.sample else { return points };
        let mut random = self.args.seed;
        let mut below = |limit: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((random >> 33) as usize) % limit
        };
        while points.len() > sample {
            points.swap_remove(below(points.len()));
        }
        points
    }
}

/// Prints what does not hold as it comes; returns why the scenario is broken, if it is.
fn tell(
    scenario: &Scenario,
    news: mpsc::Receiver<News>,
    (killed, missed, violations): &mut (usize, usize, usize),
) -> Option<String> {
    let mut broken = None;
    for news in news {
        match news {
            News::Round { was_killed: true } => *killed += 1,
            News::Round { was_killed: false } => *missed += 1,
            News::Broken(error) => broken = Some(error),
            News::Violation { point, call, problems } => {
                *violations += 1;
                let side = if point.side == Side::Entry { "entry" } else { "exit" };
                println!("VIOLATION {} --at {}:{side} ({call})", scenario.name, point.call);
                for problem in problems {
                    println!("    {problem}");
                }
            }
        }
    }
    broken
}

/// One that runs rounds of a scenario in a place of its own.
struct Worker<'s> {
    scenario: &'s Scenario,
    place: Place,
    arguments: Vec<String>,
    reference: Reference,
    /// The calls of the undisturbed command.
    calls: Vec<String>,
}

impl<'s> Worker<'s> {
    /// Sets the scenario up, and runs its command undisturbed.
    fn prepare(scenario: &'s Scenario, place: Place) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        place.clear().map_err(failed)?;
        (scenario.set_up)(&place).map_err(|error| format!("{}: {error}", scenario.name))?;
        place.save(TEMPLATE).map_err(failed)?;
        // The copy is what the rounds begin with.
        place.back(TEMPLATE).map_err(failed)?;
        let arguments = (scenario.command)(&place);
        let mut reference = Reference::before(&place);
        let command = place.traced(&arguments).map_err(failed)?;
        let traced = trace(command, None, &place.root())?;
        if traced.code != Some(scenario.code) {
            let told = format!("{} {}", place.said("stdout"), place.said("stderr"));
            return Err(format!("undisturbed, {arguments:?} ends with {:?}: {told}", traced.code));
        }
        reference.after = place.tree("");
        reference.findings = findings(&place);
        Ok(Worker { scenario, place, arguments, reference, calls: traced.calls })
    }

    fn work(&self, next: &dyn Fn() -> Option<Point>, keep: Option<&Path>, news: &Sender<News>) {
        while let Some(point) = next() {
            let told = match self.round(point) {
                Ok((traced, problems)) => {
                    if !problems.is_empty() {
                        let call = traced.calls.get(point.call - 1).cloned().unwrap_or_default();
                        let _ = news.send(News::Violation { point, call, problems });
                        let _ = keep.map(|keep| self.place.keep(&keep.join(self.scenario.name)));
                    }
                    News::Round { was_killed: traced.was_killed }
                }
                Err(error) => News::Broken(format!("{point:?}: {error}")),
            };
            if news.send(told).is_err() {
                return;
            }
        }
    }

    /// Kills the command at a point and checks what comes after.
    fn round(&self, point: Point) -> Result<(Traced, Vec<String>), String> {
        let failed = |error: std::io::Error| error.to_string();
        self.place.back(TEMPLATE).map_err(failed)?;
        let command = self.place.traced(&self.arguments).map_err(failed)?;
        let traced = trace(command, Some(point), &self.place.root())?;
        let round = Round::new(&self.place, &self.arguments, &self.reference);
        (self.scenario.check)(&round);
        let problems = round.into_problems();
        Ok((traced, problems))
    }
}
