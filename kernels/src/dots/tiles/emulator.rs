//! The instructions of AVX-VNNI and AMX that are used here, for machines without them: what such a machine says of each
//! (SIGILL) is answered by computing it, as the manual defines it (volume 2, `VPDPBUSD`, `TDPBSUD` and others).

use std::cell::UnsafeCell;

/// A tile register: sixteen rows of 64 bytes.
type Tile = [[u8; 64]; 16];

/// A thread's tile registers, and what each holds.
struct Registers {
    tiles: [Tile; 8],
    row_bytes: [u16; 8],
    rows: [u8; 8],
}

const RELEASED: Registers = Registers { tiles: [[[0; 64]; 16]; 8], row_bytes: [0; 8], rows: [0; 8] };

thread_local! {
    static REGISTERS: UnsafeCell<Registers> = const { UnsafeCell::new(RELEASED) };
}

/// From now on this process has them, if the machine has not.
pub(super) fn install() {
    // SAFETY: the handler fits `SA_SIGINFO`, and uses no instruction that it would have to answer.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_illegal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()), 0);
    }
}

extern "C" fn on_illegal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives the state of the interrupted thread, whose registers no one else uses.
    let known = REGISTERS.with(|registers| unsafe {
        let machine = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        run(&mut *registers.get(), &mut machine.gregs, machine.fpregs.cast())
    });
    if known.is_none() {
        // Back to the instruction, which now ends the process.
        // SAFETY: the default action is always there.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
    }
}

/// Does what the instruction at RIP says, and goes on behind it; `None` if it is not known here. `vectors` is the area of
/// XSAVE.
unsafe fn run(registers: &mut Registers, general: &mut [libc::greg_t; 23], vectors: *mut u8) -> Option<()> {
    const RIP: usize = libc::REG_RIP as usize;
    // SAFETY: instructions can be read, and there is code behind each.
    let code = unsafe { &*(general[RIP] as *const [u8; 12]) };
    // VEX with three bytes: inverted high bits of registers and the map 0F38; W, inverted register, L, prefix.
    let [0xc4, extensions, fields, opcode, operands, ..] = *code else { return None };
    if extensions & 0x1f != 2 || fields & 0x80 != 0 {
        return None;
    }
    if fields & 7 == 5 && opcode == 0x50 && operands >= 0xc0 {
        let register =
            |low: u8, inverted: u8| usize::from(low & 7) + if extensions & inverted == 0 { 8 } else { 0 };
        let (sums, unsigned) = (register(operands >> 3, 0x80), usize::from(!fields >> 3 & 15));
        // SAFETY: the area has the registers of AVX, which this instruction belongs to.
        unsafe { add_products(vectors, sums, unsigned, register(operands, 0x20)) };
        general[RIP] += 5;
        return Some(());
    }
    if fields & 4 != 0 {
        return None;
    }
    let (prefix, third) = (fields & 3, usize::from(!fields >> 3 & 7));
    let (first, second) = (usize::from(operands >> 3 & 7), usize::from(operands & 7));
    let in_memory = operands < 0xc0;
    let (address, stride, len) = match in_memory {
        true => address(code, extensions, general)?,
        false => (0, 0, 5),
    };
    // SAFETY: what the instruction would access.
    unsafe {
        match (opcode, prefix, in_memory) {
            (0x49, 0, true) => configure(registers, address as *const u8),
            (0x49, 0, false) => *registers = RELEASED,
            (0x49, 3, false) => registers.tiles[first] = [[0; 64]; 16],
            (0x4b, 3, true) => {
                registers.tiles[first] = [[0; 64]; 16];
                for row in 0..usize::from(registers.rows[first]) {
                    let from = (address + row as i64 * stride) as *const u8;
                    let to = registers.tiles[first][row].as_mut_ptr();
                    std::ptr::copy_nonoverlapping(from, to, usize::from(registers.row_bytes[first]));
                }
            }
            (0x4b, 2, true) => {
                for row in 0..usize::from(registers.rows[first]) {
                    let to = (address + row as i64 * stride) as *mut u8;
                    let from = registers.tiles[first][row].as_ptr();
                    std::ptr::copy_nonoverlapping(from, to, usize::from(registers.row_bytes[first]));
                }
            }
            (0x5e, 2, false) => multiply(registers, first, second, third)?,
            _ => return None,
        }
    }
    general[RIP] += len;
    Some(())
}

/// Address, stride and length of an instruction whose operand is in memory.
fn address(code: &[u8; 12], extensions: u8, general: &[libc::greg_t; 23]) -> Option<(i64, i64, i64)> {
    use libc::*;
    const ORDER: [c_int; 16] = [
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10,
        REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    ];
    let register = |low: u8, inverted: u8| {
        let high = if extensions & inverted == 0 { 8 } else { 0 };
        general[ORDER[usize::from(low & 7 | high)] as usize]
    };
    let (mode, low) = (code[4] >> 6, code[4] & 7);
    let mut len = 5;
    let (base, stride) = if low == 4 {
        let scaled = code[len];
        len += 1;
        // Without a base, or relative to RIP: not used here.
        if scaled & 7 == 5 && mode == 0 {
            return None;
        }
        let index_is_none = scaled >> 3 & 7 == 4 && extensions & 0x40 != 0;
        let index = if index_is_none { 0 } else { register(scaled >> 3, 0x40) << (scaled >> 6) };
        (register(scaled, 0x20), index)
    } else if low == 5 && mode == 0 {
        return None;
    } else {
        (register(low, 0x20), 0)
    };
    let displacement = match mode {
        0 => 0,
        1 => i64::from(code[len] as i8),
        _ => i64::from(i32::from_le_bytes(*code[len..].first_chunk()?)),
    };
    len += [0, 1, 4][usize::from(mode)];
    Some((base.wrapping_add(displacement), stride, len as i64))
}

/// `VPDPBUSD` of registers of 256 bits: low halves are where XSAVE has them for SSE, high ones where for AVX (volume 1,
/// 13.4 and 13.5.2). A component that is not in the area is zeros.
unsafe fn add_products(vectors: *mut u8, sums: usize, unsigned: usize, signed: usize) {
    const PRESENT: usize = 512;
    const AVX: u64 = 1 << 2;
    // SAFETY: the caller's.
    unsafe {
        let present = vectors.add(PRESENT).cast::<u64>();
        if *present & AVX == 0 {
            vectors.add(576).write_bytes(0, 256);
            *present |= AVX;
        }
        for byte in (0..32).step_by(4) {
            let of = |register: usize| match byte {
                0..16 => vectors.add(160 + 16 * register + byte),
                _ => vectors.add(576 + 16 * register + byte - 16),
            };
            let (a, b) = (of(unsigned).cast::<[u8; 4]>().read(), of(signed).cast::<[i8; 4]>().read());
            let products = a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(b)).sum::<i32>();
            let sum = of(sums).cast::<i32>();
            sum.write(sum.read().wrapping_add(products));
        }
    }
}

/// `LDTILECFG`: the palette, then bytes a row from byte 16 on and rows from byte 48 on.
unsafe fn configure(registers: &mut Registers, config: *const u8) {
    *registers = RELEASED;
    for tile in 0..8 {
        // SAFETY: the configuration has 64 bytes.
        unsafe {
            registers.row_bytes[tile] = config.add(16 + 2 * tile).cast::<u16>().read_unaligned();
            registers.rows[tile] = *config.add(48 + tile);
        }
    }
}

/// `TDPBSUD`: signed bytes of `a` by unsigned bytes of `b`. `None` where the hardware would refuse the shapes.
fn multiply(registers: &mut Registers, sums: usize, a: usize, b: usize) -> Option<()> {
    let (rows, quads) = (usize::from(registers.rows[sums]), usize::from(registers.rows[b]));
    let fit = registers.rows[a] == registers.rows[sums]
        && registers.row_bytes[a] == 4 * u16::from(registers.rows[b])
        && registers.row_bytes[b] == registers.row_bytes[sums]
        && sums != a
        && a != b
        && b != sums
        && rows > 0;
    if !fit {
        return None;
    }
    for row in 0..rows {
        for column in 0..usize::from(registers.row_bytes[sums]) / 4 {
            let at = 4 * column..4 * column + 4;
            let mut sum = i32::from_le_bytes(*registers.tiles[sums][row][at.clone()].first_chunk()?);
            for quad in 0..quads {
                for byte in 0..4 {
                    let signed = registers.tiles[a][row][4 * quad + byte] as i8;
                    let unsigned = registers.tiles[b][quad][4 * column + byte];
                    sum = sum.wrapping_add(i32::from(signed) * i32::from(unsigned));
                }
            }
            registers.tiles[sums][row][at].copy_from_slice(&sum.to_le_bytes());
        }
    }
    Some(())
}
