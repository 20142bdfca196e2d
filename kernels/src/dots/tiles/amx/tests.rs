use super::*;
use crate::dots::tiles::{self, avx512, emulator};
use crate::gemm::tests::noise;
use crate::weight::tests::random_weight;
use crate::{BlockType, Isa};

/// With what the machine has, or with an emulator of what it lacks.
fn with_amx() {
    if !may_use_amx() {
        emulator::install();
    }
}

/// Random bytes that begin on a line.
fn bytes(len: usize, seed: u32) -> Vec<__m512i> {
    let values: Vec<u8> = noise(len, seed).into_iter().map(|v| (v * 128.0).floor() as i8 as u8).collect();
    // SAFETY: 64 bytes each.
    values
        .chunks_exact(LINE_BYTES)
        .map(|line| unsafe { line.as_ptr().cast::<__m512i>().read_unaligned() })
        .collect()
}

fn sums_are_those_of_bytes<const SET: usize>(group: usize, stride: usize) {
    let (x, weights) = (bytes(TILE_ROWS * stride.next_multiple_of(64), 3), bytes(group / 4 * LINE_BYTES, 5));
    let mut got = Sums([[i32::MIN; PANEL_ROWS]; TILE_ROWS]);
    // SAFETY: the buffers are as large as the registers are configured for.
    let (signed, unsigned) = unsafe {
        TileRegisters::configure(group).sums::<SET>(x.as_ptr().cast(), stride, weights.as_ptr(), &mut got);
        let signed = std::slice::from_raw_parts(x.as_ptr().cast::<i8>(), TILE_ROWS * stride);
        (signed, std::slice::from_raw_parts(weights.as_ptr().cast::<u8>(), group / 4 * LINE_BYTES))
    };
    for (i, row) in got.0.iter().enumerate() {
        for (j, got) in row.iter().enumerate() {
            let product = |k: usize| {
                i32::from(signed[i * stride + k]) * i32::from(unsigned[k / 4 * LINE_BYTES + 4 * j + k % 4])
            };
            assert_eq!(*got, (0..group).map(product).sum::<i32>(), "group of {group}, row {i}, column {j}");
        }
    }
}

#[test]
fn tiles_are_sums_of_signed_and_unsigned_bytes() {
    with_amx();
    for group in [16, 32, 64] {
        for stride in [group, 3 * group, 576] {
            sums_are_those_of_bytes::<0>(group, stride);
            sums_are_those_of_bytes::<1>(group, stride);
        }
    }
}

/// What goes on with the sums is AVX-512: where that is missing, the test above is all there is.
#[test]
fn products_with_tiles_are_those_without_bit_for_bit() {
    if !Isa::Avx512Vnni.is_here() {
        return;
    }
    with_amx();
    use BlockType::*;
    for (ty, cols) in [(F16, 83), (Q4_1, 96), (Q4K, 256), (Q6K, 512)] {
        for (rows, m) in [1, 16, 33, 70].into_iter().flat_map(|r| [1, 15, 16, 17, 32, 41].map(|m| (r, m))) {
            let (weight, bias) = (random_weight(ty, rows, cols), noise(rows, 5));
            let group = tiles::group(ty).unwrap();
            let x = tiles::activations::quantize_rows(Isa::Scalar, &noise(m * cols, 11), cols, group);
            let bits = |columns| tiles::tests::bits_of(columns, &x, &weight, &bias);
            let (with, without) = (bits(avx512::columns::<true>), bits(avx512::columns::<false>));
            assert!(with == without, "{ty:?} {rows}x{cols} m={m}");
        }
    }
}
