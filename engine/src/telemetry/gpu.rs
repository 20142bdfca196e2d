//! Readings of an NVIDIA card through NVML, the driver's management library.
//!
//! The library is opened at run time, so a program with this module starts on machines without it. The
//! conversions are tested on simulated values; the queries themselves were not run on a GPU.

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use std::collections::HashMap;
use std::fmt;

/// Why a card runs below its highest clocks (`nvmlClocksEventReason*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ThrottleReason {
    /// Nothing runs on it.
    Idle,
    /// Its application clocks are set lower.
    ApplicationClocks,
    /// Software keeps it within its power limit.
    SoftwarePowerCap,
    /// Clocks are at half or less: heat, power draw or the supply's brake.
    HardwareSlowdown,
    /// It waits for a slower card of its group.
    SyncBoost,
    /// Software cools the card or its memory.
    SoftwareThermal,
    /// Hardware cools it: clocks at half or less.
    HardwareThermal,
    /// The power supply brakes it: clocks at half or less.
    PowerBrake,
    /// Its display clocks are set lower.
    DisplayClocks,
}

impl ThrottleReason {
    /// Whether heat is the reason.
    pub fn is_thermal(self) -> bool {
        matches!(self, ThrottleReason::SoftwareThermal | ThrottleReason::HardwareThermal)
    }

    /// Whether power is the reason. An unexplained hardware slowdown counts as one: heat has its own reason.
    pub fn is_power(self) -> bool {
        use ThrottleReason::{HardwareSlowdown, PowerBrake, SoftwarePowerCap};
        matches!(self, SoftwarePowerCap | HardwareSlowdown | PowerBrake)
    }
}

impl fmt::Display for ThrottleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ThrottleReason::Idle => "idle",
            ThrottleReason::ApplicationClocks => "application clocks are set lower",
            ThrottleReason::SoftwarePowerCap => "power limit",
            ThrottleReason::HardwareSlowdown => "hardware slowdown",
            ThrottleReason::SyncBoost => "a slower card of its group",
            ThrottleReason::SoftwareThermal => "software thermal slowdown",
            ThrottleReason::HardwareThermal => "hardware thermal slowdown",
            ThrottleReason::PowerBrake => "power brake",
            ThrottleReason::DisplayClocks => "display clocks are set lower",
        })
    }
}

/// What a card reports at one moment; `None` where it, or its driver, does not tell.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct GpuReading {
    /// Of the die.
    pub temperature_c: Option<u32>,
    /// Of the streaming multiprocessors.
    pub sm_clock_mhz: Option<u32>,
    /// The highest they can have.
    pub max_sm_clock_mhz: Option<u32>,
    /// Of the memory.
    pub memory_clock_mhz: Option<u32>,
    /// Drawn by the whole board.
    pub power_w: Option<f64>,
    /// Drawn since the driver was loaded, in millijoules; from the Volta generation on.
    pub energy_mj: Option<u64>,
    /// The limit in force.
    pub power_limit_w: Option<f64>,
    /// Why the clocks are not higher; empty if nothing holds them.
    pub throttle_reasons: Option<Vec<ThrottleReason>>,
    /// Share of the last sampling period in which a kernel ran.
    pub utilisation_percent: Option<u32>,
    /// Taken by all processes.
    pub memory_used_bytes: Option<u64>,
    /// Installed.
    pub memory_total_bytes: Option<u64>,
    /// Lanes of PCIe that it has, and the most that it could have.
    pub pcie_lanes: Option<(u32, u32)>,
    /// Other processes that compute on the card. In a container with process numbers of its own, this
    /// process is counted too.
    pub other_processes: Option<usize>,
}

/// An NVIDIA card.
#[derive(Debug)]
pub struct Gpu {
    nvml: Nvml,
    index: u32,
}

impl Gpu {
    /// The card of this number in NVML's order, that of the PCI bus (CUDA's may differ). `None` without a
    /// driver or such a card.
    pub fn open(index: u32) -> Option<Gpu> {
        let unavailable = |e: &_| tracing::debug!(index, error = %e, "no GPU readings");
        let nvml = Nvml::init().inspect_err(unavailable).ok()?;
        nvml.device_by_index(index).inspect_err(unavailable).ok()?;
        Some(Gpu { nvml, index })
    }

    /// Reads the first card, where there is one.
    pub fn read_first() -> Option<GpuReading> {
        Some(Gpu::open(0)?.read())
    }

    /// Bytes that all processes have of each card's memory, by the card's UUID; none without a driver.
    pub(crate) fn used_bytes() -> HashMap<String, u64> {
        let Ok(nvml) = Nvml::init() else { return HashMap::new() };
        let used = |index: u32| {
            let device = nvml.device_by_index(index).ok()?;
            Some((device.uuid().ok()?, device.memory_info().ok()?.used))
        };
        (0..nvml.device_count().unwrap_or(0)).filter_map(used).collect()
    }

    /// Reads everything; empty if the card has gone.
    pub fn read(&self) -> GpuReading {
        let Ok(device) = self.nvml.device_by_index(self.index) else { return GpuReading::default() };
        let memory = device.memory_info().ok();
        GpuReading {
            temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
            sm_clock_mhz: device.clock_info(Clock::SM).ok(),
            max_sm_clock_mhz: device.max_clock_info(Clock::SM).ok(),
            memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
            power_w: device.power_usage().ok().map(watts),
            energy_mj: device.total_energy_consumption().ok(),
            power_limit_w: device.enforced_power_limit().ok().map(watts),
            throttle_reasons: device.current_throttle_reasons().ok().map(throttle_reasons),
            utilisation_percent: device.utilization_rates().ok().map(|u| u.gpu),
            memory_used_bytes: memory.as_ref().map(|m| m.used),
            memory_total_bytes: memory.as_ref().map(|m| m.total),
            pcie_lanes: device.current_pcie_link_width().ok().zip(device.max_pcie_link_width().ok()),
            other_processes: device.running_compute_processes().ok().map(|p| others(&p, std::process::id())),
        }
    }
}

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1e3
}

fn others(processes: &[ProcessInfo], own_pid: u32) -> usize {
    processes.iter().filter(|p| p.pid != own_pid).count()
}

/// The reasons in NVML's bit mask, in the order of its bits.
fn throttle_reasons(mask: ThrottleReasons) -> Vec<ThrottleReason> {
    let reasons = [
        (ThrottleReasons::GPU_IDLE, ThrottleReason::Idle),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, ThrottleReason::ApplicationClocks),
        (ThrottleReasons::SW_POWER_CAP, ThrottleReason::SoftwarePowerCap),
        (ThrottleReasons::HW_SLOWDOWN, ThrottleReason::HardwareSlowdown),
        (ThrottleReasons::SYNC_BOOST, ThrottleReason::SyncBoost),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, ThrottleReason::SoftwareThermal),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, ThrottleReason::HardwareThermal),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, ThrottleReason::PowerBrake),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, ThrottleReason::DisplayClocks),
    ];
    reasons.into_iter().filter(|(bit, _)| mask.contains(*bit)).map(|(_, reason)| reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvml_wrapper::enums::device::UsedGpuMemory;

    #[test]
    fn each_bit_of_the_mask_is_one_reason() {
        // The values are those of the public header (nvml.h).
        for (bits, reasons) in [
            (0x0, vec![]),
            (0x1, vec![ThrottleReason::Idle]),
            (0x2, vec![ThrottleReason::ApplicationClocks]),
            (0x4, vec![ThrottleReason::SoftwarePowerCap]),
            (0x8, vec![ThrottleReason::HardwareSlowdown]),
            (0x10, vec![ThrottleReason::SyncBoost]),
            (0x20, vec![ThrottleReason::SoftwareThermal]),
            (0x40, vec![ThrottleReason::HardwareThermal]),
            (0x80, vec![ThrottleReason::PowerBrake]),
            (0x100, vec![ThrottleReason::DisplayClocks]),
            (0x24, vec![ThrottleReason::SoftwarePowerCap, ThrottleReason::SoftwareThermal]),
            (0x8000_0000_0000_0000, vec![]),
        ] {
            assert_eq!(throttle_reasons(ThrottleReasons::from_bits_retain(bits)), reasons, "{bits:#x}");
        }
    }

    #[test]
    fn units_and_processes_are_converted() {
        assert_eq!(watts(71_500), 71.5);
        let process = |pid| ProcessInfo {
            pid,
            used_gpu_memory: UsedGpuMemory::Unavailable,
            gpu_instance_id: None,
            compute_instance_id: None,
        };
        assert_eq!(others(&[process(7), process(8), process(9)], 8), 2);
        assert_eq!(others(&[process(8)], 8), 0);
    }

    #[test]
    fn a_card_that_is_not_there_is_none() {
        assert!(Gpu::open(u32::MAX).is_none());
    }

    #[test]
    fn a_reading_serialises_with_its_units() {
        let reading = GpuReading {
            temperature_c: Some(91),
            throttle_reasons: Some(vec![ThrottleReason::HardwareThermal]),
            ..GpuReading::default()
        };
        let json = serde_json::to_value(&reading).unwrap();
        assert_eq!(json["temperature_c"], 91);
        assert_eq!(json["throttle_reasons"][0], "hardware_thermal");
        assert!(json["power_w"].is_null());
    }
}
