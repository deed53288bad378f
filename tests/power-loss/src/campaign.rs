//! Scenarios: commands, power losses, and what has to hold after each of them.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::disk::{Disk, Interruption, Leaves};
use crate::feature;
use crate::oracle;
use crate::random::Random;
use crate::world::{Extent, Ran, World};

/// Items of a batch: enough for several groups of results.
const ITEMS: usize = 12;
/// Power losses of one world.
const LOSSES: usize = 3;
/// A batch makes about a hundred changes and syncs: now and then the power goes when a command has just
/// said that it has done its work.
const LONG: u64 = 140;
/// The same for a single item, and mostly for a fix or a restoration.
const SHORT: u64 = 70;

/// What happens in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Batches, resumed after each loss.
    Run,
    /// The same, and only the items are on the disk that loses power: two file systems.
    ItemsElsewhere,
    /// Agents write `"state": "done"` into `item.json` themselves, and sync nothing.
    AgentsWrite,
    /// A batch is killed, another command runs, then the power is lost.
    KilledFirst,
    /// One item at a time.
    Next,
    /// `doctor --fix` over damage.
    Fix,
    /// `backups restore` of a fix.
    Restore,
    /// Items are added.
    Add,
    /// A feature goes through its phases.
    Feature,
}

/// All of them.
pub const SCENARIOS: [Scenario; 9] = [
    Scenario::Run,
    Scenario::ItemsElsewhere,
    Scenario::AgentsWrite,
    Scenario::KilledFirst,
    Scenario::Next,
    Scenario::Fix,
    Scenario::Restore,
    Scenario::Add,
    Scenario::Feature,
];

/// What did not hold.
#[derive(Debug)]
pub struct Violation {
    /// In which scenario.
    pub scenario: Scenario,
    /// With which seed.
    pub seed: u64,
    /// What, and after which commands.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, seed {}: {}", self.scenario, self.seed, self.message)
    }
}

/// Why a world came to its end early.
#[derive(Debug)]
pub enum Stop {
    /// Nothing can be mounted here.
    CannotMount(io::Error),
    /// Something did not hold.
    Violation(Violation),
}

/// Goes through one scenario; returns how many power losses there were.
pub fn play(program: &Path, scenario: Scenario, seed: u64) -> Result<usize, Stop> {
    let mut random = Random::new(seed ^ ((scenario as u64) << 48));
    let agent = agent(scenario, &mut random);
    let extent = match scenario {
        Scenario::ItemsElsewhere => Extent::Items,
        _ => Extent::Everything,
    };
    let mut disk = Disk::default();
    disk.renames_to_new = random.once_in(2);
    let world = World::new(disk, program, &agent, extent).map_err(Stop::CannotMount)?;
    let mut case = Case { world, random, log: Vec::new() };
    let played = match scenario {
        Scenario::Feature => feature::play(&mut case, LOSSES),
        _ => case.play(scenario),
    };
    played.map(|()| LOSSES).map_err(|message| {
        let commands = case.log.join("\n  ");
        let message = format!("{message}\n  {commands}");
        Stop::Violation(Violation { scenario, seed, message })
    })
}

/// The agent's script: it notes that it was started, on a disk that loses nothing.
fn agent(scenario: Scenario, random: &mut Random) -> String {
    let note = match scenario {
        Scenario::Feature => "echo \"$1 $2\" >> \"$LEDGER\"; ",
        _ => "echo \"$1\" >> \"$LEDGER\"; ",
    };
    let file = ".wreckit/items/$1/item.json";
    let edit = "s/\"state\": \"idea\"/\"state\": \"done\"/";
    let work = match scenario {
        Scenario::AgentsWrite if random.once_in(2) => {
            format!("sed '{edit}' {file} > {file}.new && mv {file}.new {file}")
        }
        Scenario::AgentsWrite => format!("x=$(sed '{edit}' {file}) && echo \"$x\" > {file}"),
        _ => "true".to_owned(),
    };
    note.to_owned() + &work
}

/// A world, where its random numbers are, and what was done in it.
pub(crate) struct Case {
    pub(crate) world: World,
    pub(crate) random: Random,
    log: Vec<String>,
}

impl Case {
    fn play(&mut self, scenario: Scenario) -> Result<(), String> {
        self.begin().map_err(|error| error.to_string())?;
        for _ in 0..LOSSES {
            self.round(scenario)?;
            self.lose_power()?;
            oracle::check(&self.world, scenario == Scenario::AgentsWrite)?;
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        for number in 1..=ITEMS {
            self.world.item(&format!("{number:03}-item"))?;
        }
        self.world.sync();
        Ok(())
    }

    fn round(&mut self, scenario: Scenario) -> Result<(), String> {
        match scenario {
            Scenario::Run | Scenario::ItemsElsewhere | Scenario::AgentsWrite => {
                let cut = self.cut();
                self.batch(cut)
            }
            Scenario::KilledFirst => {
                let kill = Some(Interruption::Kill(self.random.below(LONG)));
                self.batch(kill)?;
                let second: &[&str] = self.random.one_of(&[
                    &["run", "--format", "json"][..],
                    &["next", "--progress", "none"],
                    &["doctor", "--fix"],
                    &["add", "Another"],
                    &["status"],
                ]);
                let cut = self.cut();
                self.command(second, cut).map(drop)
            }
            Scenario::Next => {
                let cut = self.cut_before(SHORT);
                let before = self.world.ledger().len();
                if self.command(&["next", "--progress", "none"], cut)?.code == Some(0) {
                    self.world.acknowledge_since(before);
                }
                Ok(())
            }
            Scenario::Fix => {
                let interruption = self.some_interruption();
                self.batch(interruption)?;
                if matches!(interruption, Some(Interruption::PowerCut(_))) {
                    self.lose_power()?;
                }
                self.damage()?;
                let cut = self.cut_repair();
                self.command(&["doctor", "--fix"], cut).map(drop)
            }
            Scenario::Restore => {
                let kill = Some(Interruption::Kill(self.random.below(LONG)));
                self.batch(kill)?;
                self.damage()?;
                self.command(&["doctor", "--fix"], None)?;
                let Some(id) = self.last_backup() else { return Ok(()) };
                let cut = self.cut_repair();
                self.command(&["backups", "restore", &id], cut).map(drop)
            }
            Scenario::Add => {
                let cut = self.cut_before(40);
                let title = format!("Added {}", self.random.below(1000));
                if self.random.once_in(3) {
                    let kill = Some(Interruption::Kill(self.random.below(12)));
                    self.command(&["add", "Killed"], kill)?;
                }
                let ran = self.command(&["add", &title], cut)?;
                if ran.code == Some(0) {
                    self.world.added.insert(ran.stdout.trim().to_owned(), title);
                }
                Ok(())
            }
            Scenario::Feature => Ok(()),
        }
    }

    /// What `doctor --fix` has something to do about. It is on disk.
    fn damage(&mut self) -> Result<(), String> {
        let progress = ".wreckit/batch-progress.json";
        let (path, contents) = self.random.one_of(&[
            (progress, "{\"schema_version\": 1, \"session_"),
            (progress, ""),
            (".wreckit/items/001-item/item.json.abcdef012345.tmp", "{"),
        ]);
        let index = "{\"schema_version\": 1, \"items\": [], \"generated_at\": \"\"}";
        let written = self.world.write(".wreckit/index.json", index);
        written
            .and_then(|()| self.world.write(path, contents))
            .map_err(|error| error.to_string())?;
        self.world.sync();
        self.log.push(format!("damage: {path}"));
        Ok(())
    }

    fn last_backup(&self) -> Option<String> {
        let entries = fs::read_dir(self.world.path(".wreckit/backups")).ok()?.flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).max()
    }

    fn some_interruption(&mut self) -> Option<Interruption> {
        let at = self.random.below(LONG);
        let is_kill = self.random.once_in(2);
        Some(if is_kill { Interruption::Kill(at) } else { Interruption::PowerCut(at) })
    }

    fn cut(&mut self) -> Option<Interruption> {
        self.cut_before(LONG)
    }

    /// A repair that does a lot takes as long as two batches.
    fn cut_repair(&mut self) -> Option<Interruption> {
        let limit = self.random.one_of(&[SHORT, SHORT, 2 * LONG]);
        self.cut_before(limit)
    }

    pub(crate) fn cut_before(&mut self, limit: u64) -> Option<Interruption> {
        Some(Interruption::PowerCut(self.random.below(limit)))
    }

    fn batch(&mut self, interruption: Option<Interruption>) -> Result<(), String> {
        let parallel = (1 + self.random.below(4)).to_string();
        let arguments = ["run", "--format", "json", "--parallel", &parallel];
        self.command(&arguments, interruption).map(drop)
    }

    pub(crate) fn command(
        &mut self,
        arguments: &[&str],
        interruption: Option<Interruption>,
    ) -> Result<Ran, String> {
        let ran = self.world.run(arguments, interruption)?;
        let operations = self.world.operations();
        let words = arguments.join(" ");
        self.log
            .push(format!("{words} ({interruption:?}): {:?}, {operations} operations", ran.code));
        Ok(ran)
    }

    pub(crate) fn lose_power(&mut self) -> Result<(), String> {
        let leaves = self.random.one_of(&[
            Leaves::Nothing,
            Leaves::Everything,
            Leaves::Prefix,
            Leaves::Anything,
            Leaves::Anything,
        ]);
        self.log.push(format!("power loss, which leaves {leaves:?}"));
        let Case { world, random, .. } = self;
        world.lose_power(leaves, random).map_err(|error| format!("mounted again: {error}"))
    }
}
