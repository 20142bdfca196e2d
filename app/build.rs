//! On Linux: the functions of ALSA's library as jumps to where the library is found when the program starts, so that the
//! program also starts where it is not installed. Found by the linker before the library itself.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=asound");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let jump = match (target("OS").as_str(), target("ARCH").as_str()) {
        ("linux", "x86_64") => |at: usize| format!("jmp *undertone_asound_slots+{at}(%rip)"),
        ("linux", "aarch64") => |at: usize| {
            let slot = format!("undertone_asound_slots+{at}");
            format!("adrp x16, {slot}\\n ldr x16, [x16, :lo12:{slot}]\\n br x16")
        },
        // Linked as usual, or not used.
        _ => return,
    };
    let list = std::fs::read_to_string("asound/functions.txt").expect("asound/functions.txt");
    let functions: Vec<&str> = list.lines().collect();
    // One unit: a linker takes no object of a library for the sake of its constructor alone.
    let mut source = format!("#include \"find.c\"\nvoid *undertone_asound_slots[{}];\n", functions.len());
    source += "const char *const undertone_asound_names[] = {\n";
    for function in &functions {
        source += &format!("    \"{function}\",\n");
    }
    source += "    0,\n};\n";
    for (i, name) in functions.iter().enumerate() {
        let jump = jump(8 * i);
        source += &format!(
            "__asm__(\".text\\n .globl {name}\\n .type {name}, %function\\n{name}:\\n {jump}\\n .size {name}, .-{name}\");\n"
        );
    }
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    let jumps = std::path::Path::new(&out).join("jumps.c");
    std::fs::write(&jumps, source).expect("the build folder is writable");
    // Its name is the library's: this is what `-lasound` finds.
    cc::Build::new().include("asound").file(&jumps).compile("asound");
}
