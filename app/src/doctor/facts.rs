//! What a machine and its user's session are like: read here, judged in `table`.

use super::portal::Portals;
use super::speed::{self, Measured, Unmeasured};
use crate::capture::{self, Microphone, Source as _};
use crate::checks::CHECKS;
use crate::ctl;
use crate::environment::{Environment, Place};
use crate::history::{Layout, Store as History};
use crate::inject::{self, Method};
use crate::journal;
use crate::keys::{Choice, Keys};
use crate::plan;
use crate::run::{self, bindings, keys_choice};
use crate::settings::{Settings, Way};
use crate::store::{Kind, Store, StoreConfig, disk};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use undertone_engine::Isa;
use undertone_engine::gpu;
use undertone_engine::plan::mebibytes;
use undertone_engine::telemetry::gpu::Gpu;
use undertone_engine::telemetry::host::{self, HostReading};
use undertone_engine::telemetry::{GpuReading, memory};

/// Everything that is looked at. A sentence stands for what failed.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The GPU that models compute on, or why they do not.
    pub(super) gpu: Result<String, String>,
    /// Makers of the graphics cards (PCI vendor numbers).
    pub(super) cards: Vec<u32>,
    pub(super) reading: Option<GpuReading>,
    pub(super) instructions: Isa,
    pub(super) threads: usize,
    pub(super) host: HostReading,
    /// Of the processor's last level, all parts of it together.
    pub(super) cache_bytes: Option<u64>,
    pub(super) available_bytes: Option<u64>,
    /// Bytes of swap in use, and all.
    pub(super) swap_bytes: Option<(u64, u64)>,
    /// The file of the settings, or what is wrong with it.
    pub(super) config: Result<PathBuf, String>,
    /// The models of the settings.
    pub(super) models: Vec<Result<String, String>>,
    /// What they take, where they are all there.
    pub(super) planned_bytes: Option<u64>,
    /// What their place has left.
    pub(super) disk: Option<(PathBuf, u64)>,
    /// What the language model writes beside what it could; none where that is not asked for.
    pub(super) speed: Option<Result<Measured, Unmeasured>>,
    /// Of the user's session; none without a home folder.
    pub(super) session: Option<Session>,
}

/// What dictation needs besides.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// `X11`, `Wayland`; none outside of a desktop.
    pub(super) desktop: Option<&'static str>,
    pub(super) sandbox: Option<&'static str>,
    /// Whether the resident program answers.
    pub(super) is_running: bool,
    /// The microphone of the settings, and the names of all; or why there is none.
    pub(super) microphones: Result<Vec<String>, String>,
    pub(super) wanted_microphone: String,
    /// The loudest sample of a moment, where it was listened to.
    pub(super) loudest: Option<Result<f32, String>>,
    /// The key that begins a dictation, and how it is heard; or why it is not.
    pub(super) keys: Result<String, String>,
    pub(super) injection: Result<Injection, String>,
    pub(super) portals: Portals,
    /// Recordings whose text was never delivered.
    pub(super) undelivered: usize,
    pub(super) history: Result<bool, String>,
}

/// How text gets into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Injection {
    /// None outside of a desktop.
    pub(super) method: Option<Method>,
    pub(super) way: Way,
}

impl Facts {
    /// Looks at this machine; if it may take its time, listens to the microphone and lets the language model write.
    pub(super) fn find(place: Result<Place>, thorough: bool) -> Facts {
        let root = Path::new("/");
        let (found, place) = (gpu::find(0), place.ok());
        let loaded = place.as_ref().map(|place| place.file.load(&CHECKS));
        let config = match (&place, &loaded) {
            (Some(place), Some(Ok(_))) => Ok(place.file.path().to_owned()),
            (_, Some(Err(e))) => Err(e.to_string()),
            _ => Err("there is no home folder".into()),
        };
        let settings = loaded.and_then(Result::ok).unwrap_or_default();
        let store = StoreConfig::from_env().and_then(|config| Store::open(&config)).ok();
        let session = place.as_ref().map(|place| Session::find(&place.environment, &settings, thorough));
        let is_running = session.as_ref().is_some_and(|session| session.is_running);
        Facts {
            speed: store
                .as_ref()
                .filter(|_| thorough)
                .and_then(|s| speed::find(s, &settings.models, is_running)),
            gpu: match &found {
                Ok(gpu) => {
                    let (free, all) = gpu.memory_bytes;
                    let (major, minor) = (gpu.capability / 10, gpu.capability % 10);
                    let memory = format!("{} of {} free", mebibytes(free), mebibytes(all));
                    Ok(format!("{gpu}: {}, compute capability {major}.{minor}, {memory}", gpu.name))
                }
                Err(why) => Err(why.to_string()),
            },
            cards: cards(root),
            reading: Gpu::read_first(),
            instructions: Isa::current(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            host: HostReading::read(root),
            cache_bytes: host::cache_bytes(root),
            available_bytes: memory::available_bytes().map(|bytes| bytes as u64),
            swap_bytes: memory::swap_bytes(),
            config,
            models: store.as_ref().map_or(Vec::new(), |store| models(store, &settings)),
            planned_bytes: store.as_ref().and_then(|store| planned(store, &settings)),
            disk: store.and_then(|s| Some((s.root().to_owned(), disk::free_bytes(s.root())?))),
            session,
        }
    }
}

/// Makers of the graphics cards that the kernel knows.
fn cards(root: &Path) -> Vec<u32> {
    let cards = std::fs::read_dir(root.join("sys/bus/pci/devices")).into_iter().flatten().flatten();
    let number = |path: PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
    };
    // Class 03: display controllers.
    let is_display = |path: &Path| number(path.join("class")).is_some_and(|class| class >> 16 == 3);
    cards.map(|card| card.path()).filter(|p| is_display(p)).filter_map(|p| number(p.join("vendor"))).collect()
}

fn models(store: &Store, settings: &Settings) -> Vec<Result<String, String>> {
    let models = [(&settings.models.speech, Kind::Speech), (&settings.models.text, Kind::Text)];
    let wanted = models.into_iter().filter(|(name, _)| *name != "none");
    let whole = |(name, kind): (&String, Kind)| match store.resolve(name, kind) {
        Ok(model) => Ok(model.name),
        Err(e) => Err(format!("{e:#}")),
    };
    wanted.map(whole).collect()
}

fn planned(store: &Store, settings: &Settings) -> Option<u64> {
    let text = Some(settings.models.text.as_str()).filter(|name| *name != "none");
    let planned = plan::planned_bytes(&settings.models, store, &settings.models.speech, text);
    Some(planned.ok()? as u64)
}

impl Session {
    fn find(environment: &Environment, settings: &Settings, thorough: bool) -> Session {
        let socket = ctl::socket_path(environment.runtime_dir.as_deref(), &std::env::temp_dir());
        let is_running = ctl::ask(&socket, &ctl::Command::Status, Duration::from_secs(2)).is_ok();
        let desktop = match (&environment.wayland, &environment.display) {
            (Some(_), _) => Some("Wayland"),
            (None, Some(_)) => Some("X11"),
            (None, None) => None,
        };
        // Without a desktop nobody dictates, and ALSA complains of what it lacks.
        let microphones = desktop.map_or(Ok(Vec::new()), |_| capture::devices().map_err(|e| e.to_string()));
        let names =
            microphones.map(|all| all.into_iter().filter(|d| !d.is_monitor).map(|d| d.name).collect());
        let injection = injection(environment, settings);
        Session {
            portals: Portals::find(desktop.is_some(), settings, environment, injection.as_ref().ok()),
            desktop,
            sandbox: sandbox(Path::new("/")),
            is_running,
            loudest: (thorough && names.as_ref().is_ok_and(|names: &Vec<_>| !names.is_empty()))
                .then(|| loudest(&settings.audio.device)),
            microphones: names,
            wanted_microphone: settings.audio.device.clone(),
            keys: keys(environment, settings, is_running),
            injection,
            undelivered: match is_running {
                true => 0,
                false => journal::recover(&environment.journal_dir()).map_or(0, |all| all.len()),
            },
            history: History::check_existing(&Layout::new(&environment.history_dir()))
                .map_err(|e| e.to_string()),
        }
    }
}

/// What keeps this program from the rest of the machine.
fn sandbox(root: &Path) -> Option<&'static str> {
    let marks =
        [(".flatpak-info", "Flatpak"), (".dockerenv", "a container"), ("run/.containerenv", "a container")];
    marks.into_iter().find(|(file, _)| root.join(file).exists()).map(|(_, name)| name)
}

/// The key of the settings, tried: taken for a moment, unless the program itself holds it or a desktop would ask.
fn keys(environment: &Environment, settings: &Settings, is_running: bool) -> Result<String, String> {
    let choice = keys_choice(settings, environment);
    let key = settings.keys.first().map_or("no key", |key| key.key.as_str());
    match choice {
        _ if is_running => Ok(format!("{key}, held by the running program")),
        Choice::Portal(_) => Ok(format!("{key}, asked of the desktop when the program starts")),
        Choice::X11(_) | Choice::Evdev => {
            let how = if choice == Choice::Evdev { "the keyboards themselves" } else { "X11" };
            Keys::open(&bindings(settings), &choice)
                .map(|_| format!("{key}, over {how}"))
                .map_err(|e| e.to_string())
        }
    }
}

fn injection(environment: &Environment, settings: &Settings) -> Result<Injection, String> {
    let way = settings.inject.way;
    match run::desktop(environment) {
        None => Ok(Injection { method: None, way }),
        Some(desktop) => match inject::method(&desktop) {
            Ok(method) => Ok(Injection { method: Some(method), way }),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// The loudest sample of half a second.
fn loudest(device: &str) -> Result<f32, String> {
    const LISTEN: Duration = Duration::from_millis(500);
    let wanted = (device != "default").then(|| device.to_owned());
    let mut microphone = Microphone::new(wanted).map_err(|e| e.to_string())?;
    let mut open = microphone.open().map_err(|e| e.to_string())?;
    let (until, mut loudest) = (Instant::now() + 4 * LISTEN, None);
    // Half a second from its first sample on; one that takes seconds to begin is not waited for.
    while Instant::now() < until && open.tap.first_at().is_none_or(|first| first.elapsed() < LISTEN) {
        std::thread::sleep(LISTEN / 10);
        open.tap.drain(|samples| {
            let here = samples.iter().fold(0f32, |most, s| most.max(s.abs()));
            loudest = Some(loudest.unwrap_or(0f32).max(here));
        });
    }
    loudest.ok_or_else(|| "it gave no sample".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_sandboxes_are_read_from_files() {
        let root = tempfile::tempdir().expect("a folder");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        assert_eq!((cards(root.path()), sandbox(root.path())), (Vec::new(), None));
        for (device, class, vendor) in [
            ("00:02.0", "0x030000", "0x8086"),
            ("01:00.0", "0x030200", "0x10de"),
            ("02:00.0", "0x020000", "0x1af4"),
        ] {
            put(&format!("sys/bus/pci/devices/{device}/class"), &format!("{class}\n"));
            put(&format!("sys/bus/pci/devices/{device}/vendor"), &format!("{vendor}\n"));
        }
        put(".flatpak-info", "");
        let mut found = cards(root.path());
        found.sort_unstable();
        assert_eq!((found, sandbox(root.path())), (vec![0x10de, 0x8086], Some("Flatpak")));
    }
}
