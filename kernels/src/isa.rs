use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Names the most that is used of what the machine has.
pub const ISA_VARIABLE: &str = "UNDERTONE_ISA";

/// Instruction sets a kernel body is compiled for, in rising order. Machines need not have all up to their best:
/// [`Isa::AvxVnni`] is on newer ones without AVX-512.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// Whatever the compilation target guarantees.
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// The same with VNNI in registers of 256 bits: products of bytes.
    AvxVnni,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    /// The same with VNNI.
    Avx512Vnni,
    /// The same with AMX: products of tiles of bytes, where there are sixteen rows of activations.
    Amx,
}

// 255: not looked up yet. Detection gives the same answer in every thread, so a race is harmless.
static CURRENT: AtomicU8 = AtomicU8::new(255);

impl Isa {
    /// All there are, in rising order.
    pub const ALL: [Isa; 6] = [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512, Isa::Avx512Vnni, Isa::Amx];

    /// Every set this machine can run, [`Isa::Scalar`] first: what parity tests walk over.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| *isa <= Isa::detect() && isa.is_here())
    }

    /// The best set this machine has, up to the one `UNDERTONE_ISA` names: each path can be tested and
    /// measured on one machine. Other names are for the program to refuse; here they change nothing.
    pub fn detect() -> Isa {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let most = std::env::var(ISA_VARIABLE).ok().and_then(|name| Isa::parse(&name));
            Isa::best_up_to(most.unwrap_or(Isa::Amx))
        })
    }

    /// Whether this machine has it, and the system lets this process use it.
    pub fn is_here(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let is_wide = || has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
            return match self {
                Isa::Scalar => true,
                Isa::Avx2 => has!("avx2") && has!("fma") && has!("f16c"),
                Isa::AvxVnni => Isa::Avx2.is_here() && has!("avxvnni"),
                Isa::Avx512 => Isa::Avx2.is_here() && is_wide(),
                Isa::Avx512Vnni => Isa::Avx512.is_here() && has!("avx512vnni"),
                Isa::Amx => Isa::Avx512Vnni.is_here() && crate::dots::may_use_amx(),
            };
        }
        #[allow(unreachable_code)]
        {
            self == Isa::Scalar
        }
    }

    fn best_up_to(most: Isa) -> Isa {
        let is_best = |isa: &Isa| *isa <= most && isa.is_here();
        Isa::ALL.into_iter().rev().find(is_best).unwrap_or(Isa::Scalar)
    }

    /// The set the operations use: the best one, or the limit set by [`Isa::limit`].
    pub fn current() -> Isa {
        if let Some(isa) = Isa::ALL.get(usize::from(CURRENT.load(Ordering::Relaxed))) {
            return *isa;
        }
        let isa = Isa::detect();
        CURRENT.store(isa as u8, Ordering::Relaxed);
        isa
    }

    /// Uses at most `isa` from now on, so that a lesser path can be tested and measured here.
    /// Returns what is used in effect: never more than the machine has.
    pub fn limit(isa: Isa) -> Isa {
        let isa = Isa::best_up_to(isa.min(Isa::detect()));
        CURRENT.store(isa as u8, Ordering::Relaxed);
        isa
    }

    /// The set of this name.
    pub fn parse(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// As `UNDERTONE_ISA` names it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Amx => "amx",
        }
    }
}

/// Compiles `$body::<FMA>(args)` once per instruction set and calls the one asked for.
///
/// The body is one `#[inline(always)]` function in plain Rust over fixed-width chunks; inlined
/// into a function with the target feature it becomes that set's vector code. One source, so the
/// paths cannot drift apart.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident = $body:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
                match isa.min($crate::isa::Isa::detect()) {
                    $crate::isa::Isa::Avx512 | $crate::isa::Isa::Avx512Vnni | $crate::isa::Isa::Amx => {
                        // SAFETY: `detect` has just said that the machine has these features.
                        return unsafe { avx512($($arg),*) };
                    }
                    // SAFETY: as above.
                    $crate::isa::Isa::Avx2 | $crate::isa::Isa::AvxVnni => return unsafe { avx2($($arg),*) },
                    $crate::isa::Isa::Scalar => {}
                }
            }
            let _ = isa;
            $body::<false>($($arg),*)
        }
    };
}
pub(crate) use per_isa;
