use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Names the most that is used of what the machine has.
pub const ISA_VARIABLE: &str = "UNDERTONE_ISA";

/// Instruction sets a kernel body is compiled for, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// Whatever the compilation target guarantees.
    Scalar = 0,
    /// AVX2 with FMA and F16C.
    Avx2 = 1,
    /// AVX-512 F, BW, DQ, VL.
    Avx512 = 2,
    /// The same with VNNI: products of bytes.
    Avx512Vnni = 3,
}

// 255: not looked up yet. Detection gives the same answer in every thread, so a race is harmless.
static CURRENT: AtomicU8 = AtomicU8::new(255);

impl Isa {
    /// All there are, in rising order.
    pub const ALL: [Isa; 4] = [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni];

    /// Every set this machine can run, [`Isa::Scalar`] first: what parity tests walk over.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| *isa <= Isa::detect())
    }

    /// The best set this machine has, up to the one `UNDERTONE_ISA` names: each path can be tested and
    /// measured on one machine. Other names are for the program to refuse; here they change nothing.
    pub fn detect() -> Isa {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let most = std::env::var(ISA_VARIABLE).ok().and_then(|name| Isa::parse(&name));
            most.map_or(Isa::of_machine(), |most| most.min(Isa::of_machine()))
        })
    }

    /// The best set this machine has.
    pub fn of_machine() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma") && has!("f16c");
            if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                return if has!("avx512vnni") { Isa::Avx512Vnni } else { Isa::Avx512 };
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Scalar
    }

    /// The set the operations use: the best one, or the limit set by [`Isa::limit`].
    pub fn current() -> Isa {
        match CURRENT.load(Ordering::Relaxed) {
            0 => Isa::Scalar,
            1 => Isa::Avx2,
            2 => Isa::Avx512,
            3 => Isa::Avx512Vnni,
            _ => {
                let isa = Isa::detect();
                CURRENT.store(isa as u8, Ordering::Relaxed);
                isa
            }
        }
    }

    /// Uses at most `isa` from now on, so that a lesser path can be tested and measured here.
    /// Returns what is used in effect: never more than the machine has.
    pub fn limit(isa: Isa) -> Isa {
        let isa = isa.min(Isa::detect());
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
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512vnni",
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
                    $crate::isa::Isa::Avx512 | $crate::isa::Isa::Avx512Vnni => {
                        // SAFETY: `detect` has just said that the machine has these features.
                        return unsafe { avx512($($arg),*) };
                    }
                    // SAFETY: as above.
                    $crate::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::isa::Isa::Scalar => {}
                }
            }
            let _ = isa;
            $body::<false>($($arg),*)
        }
    };
}
pub(crate) use per_isa;
