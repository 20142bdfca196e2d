//! AMX: sixteen rows of activations by sixteen of a weight at one instruction (Intel 64 and IA-32 Architectures Software
//! Developer's Manual, volume 1, chapter 18).
//!
//! Panels are those of [`super::avx512`]: four bytes of sixteen rows a register are, as they lie, what the instruction takes.
//! A group's sums of bytes are exact either way and go on in the same order, so that both give the same bits.

#[cfg(all(test, target_os = "linux"))]
mod tests;

use super::activations::Activations;
use super::avx512::{PANEL_ROWS, Packed};
use crate::gemm::Rows;
use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Rows of activations that a tile takes.
pub(super) const TILE_ROWS: usize = 16;
/// Bytes of a row of a tile register.
const LINE_BYTES: usize = 64;
/// Numbers of tile registers that [`TileRegisters::sums`] uses in turn: of its sums, of activations, of weights.
const SETS: [[usize; 3]; 2] = [[0, 1, 2], [3, 4, 5]];

/// Rows among whose instructions the compiler may choose: for what it would do with all sixteen at once there are too few
/// registers.
const ROWS_TOGETHER: usize = 4;

/// Sums of bytes of one group, rows of activations by rows of the weight.
#[repr(C, align(64))]
struct Sums([[i32; PANEL_ROWS]; TILE_ROWS]);

/// Whether the processor has tiles of bytes, and the system lets this process use them: Linux saves them for those
/// alone that ask, since they make a thread's state 8 KiB larger (Documentation/arch/x86/xstate.rst).
pub(crate) fn may_use_amx() -> bool {
    // CPUID 7, EDX: AMX-TILE, AMX-INT8. Every processor with AVX2 has that leaf.
    const NEEDED: u32 = 1 << 24 | 1 << 25;
    __cpuid_count(7, 0).edx & NEEDED == NEEDED && ask_for_tiles()
}

#[cfg(target_os = "linux")]
fn ask_for_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: changes nothing but what the process may use. A system that does not know the request says so.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_tiles() -> bool {
    false
}

/// What each tile register holds (`LDTILECFG`).
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// This thread's tile registers, until it is dropped: a thread that uses none has none to be saved.
pub(super) struct TileRegisters {
    of_this_thread: PhantomData<*mut ()>,
}

impl Drop for TileRegisters {
    fn drop(&mut self) {
        // SAFETY: they were configured, so the instruction is there.
        unsafe { asm!("tilerelease", options(nostack)) };
    }
}

impl TileRegisters {
    /// Makes the registers fit groups of `group` numbers (4 to 64).
    ///
    /// # Safety
    /// Needs AMX ([`may_use_amx`]), and to be the only one of its thread.
    pub(super) unsafe fn configure(group: usize) -> TileRegisters {
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let mut register = |register: usize, rows: usize, row_bytes: usize| {
            (config.rows[register], config.row_bytes[register]) = (rows as u8, row_bytes as u16);
        };
        for [sums, x, weights] in SETS {
            register(sums, TILE_ROWS, LINE_BYTES);
            register(x, TILE_ROWS, group);
            register(weights, group / 4, LINE_BYTES);
        }
        // SAFETY: 64 bytes that say what fits palette 1.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(readonly, nostack)) };
        TileRegisters { of_this_thread: PhantomData }
    }

    /// The sums of one group: activations at `x`, rows `x_stride` bytes apart, with a panel's `levels`.
    /// Of two sets of registers a caller takes one and the other in turn, so that neither waits for the other.
    ///
    /// # Safety
    /// As many numbers as the registers are configured for must be there, in sixteen rows of each.
    #[inline(always)]
    unsafe fn sums<const SET: usize>(
        &self,
        x: *const i8,
        x_stride: usize,
        levels: *const __m512i,
        sums: *mut Sums,
    ) {
        // SAFETY: the caller's.
        unsafe {
            asm!(
                "tilezero tmm{sums}",
                "tileloadd tmm{x}, [{x_at} + {x_stride}]",
                "tileloadd tmm{weights}, [{levels} + {line}]",
                "tdpbsud tmm{sums}, tmm{x}, tmm{weights}",
                "tilestored [{sums_at} + {line}], tmm{sums}",
                sums = const SETS[SET][0],
                x = const SETS[SET][1],
                weights = const SETS[SET][2],
                x_at = in(reg) x,
                x_stride = in(reg) x_stride,
                levels = in(reg) levels,
                sums_at = in(reg) sums,
                line = in(reg) LINE_BYTES,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _,
                options(nostack),
            );
        }
    }

    /// Rows of activations from `row` on with all panels; a group has `4 * QUADS` numbers, as it was configured for.
    /// Returns how many rows that were.
    ///
    /// # Safety
    /// There must be [`TILE_ROWS`] of them, and the columns of `y` that the panels are for must be the caller's.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn multiply<const QUADS: usize>(
        &self,
        x: &Activations,
        row: usize,
        packed: &Packed<'_>,
        y: Rows<*mut f32>,
    ) -> usize {
        let groups = x.groups;
        let mut sums = [const { MaybeUninit::<Sums>::uninit() }; 2];
        let [even, odd] = sums.each_mut().map(MaybeUninit::as_mut_ptr);
        for (p, panel) in packed.panels.iter().enumerate() {
            // SAFETY: sixteen rows are there, and a panel has all groups of a row.
            unsafe {
                let levels = x.levels.as_ptr().add(row * groups * 4 * QUADS);
                let stride = groups * 4 * QUADS;
                let (scales, x_sums) =
                    (x.scales.as_ptr().add(row * groups), x.sums.as_ptr().add(row * groups));
                let mut out = [_mm512_loadu_ps(packed.columns.biases[p].as_ptr()); TILE_ROWS];
                let panel_levels = panel.levels.as_ptr();
                let product = |g: usize| {
                    let (x, levels) = (levels.add(g * 4 * QUADS), panel_levels.add(g * QUADS));
                    match g % 2 {
                        0 => self.sums::<0>(x, stride, levels, even),
                        _ => self.sums::<1>(x, stride, levels, odd),
                    }
                };
                product(0);
                for g in 0..groups {
                    // While one group is scaled the next is multiplied.
                    if g + 1 < groups {
                        product(g + 1);
                    }
                    let sums = [even, odd][g % 2].cast::<__m512i>();
                    let (scale, offset) = (*panel.scales.as_ptr().add(g), *panel.offsets.as_ptr().add(g));
                    for (part, out) in out.as_chunks_mut::<ROWS_TOGETHER>().0.iter_mut().enumerate() {
                        for (r, out) in (ROWS_TOGETHER * part..).zip(&mut *out) {
                            let x_scale = _mm512_set1_ps(*scales.add(r * groups + g));
                            let x_sum = _mm512_set1_ps(*x_sums.add(r * groups + g));
                            let worth = _mm512_mul_ps(scale, x_scale);
                            *out = _mm512_fmadd_ps(_mm512_cvtepi32_ps(*sums.add(r)), worth, *out);
                            *out = _mm512_fmadd_ps(offset, x_sum, *out);
                        }
                        in_order(&mut out[ROWS_TOGETHER - 1]);
                    }
                }
                let mask = ((1u32 << packed.columns.widths[p]) - 1) as u16;
                for (r, out) in out.iter().enumerate() {
                    let to = y.ptr.wrapping_add((row + r) * y.stride + p * PANEL_ROWS);
                    _mm512_mask_storeu_ps(to, mask, *out);
                }
            }
        }
        TILE_ROWS
    }
}

/// Nothing; but the compiler computes what is passed here one after the other.
#[inline]
#[target_feature(enable = "avx512f")]
fn in_order(register: &mut __m512) {
    // SAFETY: there is no instruction, only a comment.
    unsafe { asm!("/* {} */", inlateout(zmm_reg) * register, options(nomem, nostack, preserves_flags)) };
}
