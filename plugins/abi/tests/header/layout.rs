//! What C makes of the headers, the present one and that of the first release
//! (`tests/abi/v1`), is what Rust makes of the types; and both compile everywhere.

use std::collections::BTreeMap;
use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

use sidetone_plugin_abi as abi;

/// Offsets of fields, and the whole size as `sizeof`, by struct and name.
type Layout = BTreeMap<(String, String), usize>;

fn of_rust() -> Layout {
    let mut found = Layout::new();
    macro_rules! layout {
        ($($type:ident { $($field:ident)* })*) => {
            $(
                let name = super::NAMES.iter().find(|(rust, _)| *rust == stringify!($type)).unwrap().1;
                $(found.insert((name.into(), stringify!($field).into()), offset_of!(abi::$type, $field));)*
                found.insert((name.into(), "sizeof".into()), size_of::<abi::$type>());
            )*
        };
    }
    layout! {
        Bundle { size abi id version vendor license kind_count kind_stride kinds }
        Call { size flags now_ns input_count output_count inputs outputs event_count event_stride events }
        Event { size event time_ns id reserved number }
        Face { confidence left top width height }
        FaceLandmarks { size scheme face_count face_stride faces_offset }
        Format { size media format width height rate channels length }
        Frame {
            size media format flags pts_ns captured_ns duration_ns sequence width height rate plane_count
            plane_stride reserved planes shape
        }
        Host {
            size abi context log now_ns frame_new frame_retain frame_release emit param extension
        }
        Kind {
            size flags kind summary doc latency_ns input_count input_stride inputs output_count output_stride
            outputs param_count param_stride params create destroy process extension
        }
        Mask { size width height row_stride rows_offset }
        Param {
            size id param_type flags name unit doc min max step default_number default_text choice_count reserved
            choices
        }
        Plane { size width height reserved stride capacity data }
        Port { size media format flags name doc shape rate channels }
        Setup { size param_count param_stride reserved params seed }
        State { size reserved save load }
        Value { size id number text }
    }
    found
}

/// The fields of every struct of a header, read from its text.
fn fields(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in header.split("typedef struct ").skip(1) {
        let (name, body) = part.split_once(" {").unwrap();
        let body = body.split("\n}").next().unwrap();
        let lines = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        for field in lines.collect::<Vec<_>>().join(" ").split(';').filter(|field| !field.trim().is_empty()) {
            let field = match field.split_once("(*") {
                Some((_, function)) => function.split(')').next().unwrap(),
                None => field.rsplit([' ', '*']).next().unwrap(),
            };
            found.push((name.to_owned(), field.to_owned()));
        }
    }
    assert!(found.len() > 100, "the fields were not found");
    found
}

fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

fn repository() -> PathBuf {
    super::folder().join("../..")
}

/// The folders of the header of the first release and of the present one.
fn headers() -> [(&'static str, PathBuf); 2] {
    [("v1", repository().join("tests/abi/v1")), ("now", repository().join("plugins/include"))]
}

fn compile(compiler: &str, arguments: &[&str], include: &Path, source: &Path) {
    let output = Command::new(compiler).args(arguments).arg("-I").arg(include).arg(source).output().unwrap();
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
}

fn of_c(name: &str, include: &Path) -> Layout {
    let header = fs::read_to_string(include.join("sidetone_plugin.h")).unwrap();
    let mut all = fields(&header);
    let mut structs: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
    structs.dedup();
    all.extend(structs.into_iter().map(|name| (name, "sizeof".to_owned())));
    let lines = all.iter().map(|(name, field)| match field.as_str() {
        "sizeof" => format!("  printf(\"{name} sizeof %zu\\n\", sizeof({name}));\n"),
        field => format!("  printf(\"{name} {field} %zu\\n\", offsetof({name}, {field}));\n"),
    });
    let source = scratch().join(format!("layout_{name}.c"));
    let program = scratch().join(format!("layout_{name}"));
    let body: String = lines.collect();
    let text = format!(
        "#include <stdio.h>\n#include \"sidetone_plugin.h\"\n\nint main(void) {{\n{body}  return 0;\n}}\n"
    );
    fs::write(&source, text).unwrap();
    compile("cc", &["-std=c99", "-o", program.to_str().unwrap()], include, &source);
    let output = Command::new(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        ((words[0].to_owned(), words[1].to_owned()), words[2].parse().unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn every_field_lies_where_c_looks_for_it() {
    let [(_, v1), (_, now)] = headers();
    assert_eq!(of_c("now", &now), of_rust());
    // Structs only grow at their end.
    let rust = of_rust();
    for (field, offset) in of_c("v1", &v1) {
        match field.1.as_str() {
            "sizeof" => assert!(rust[&field] >= offset, "{field:?} has shrunk"),
            _ => assert_eq!(rust.get(&field), Some(&offset), "{field:?} has moved"),
        }
    }
}

#[test]
fn no_constant_of_the_first_release_has_changed() {
    let [v1, now] =
        headers().map(|(_, folder)| fs::read_to_string(folder.join("sidetone_plugin.h")).unwrap());
    let constants = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("#define SIDETONE_"));
        lines.filter(|line| !line.contains("ABI_MINOR")).map(str::to_owned).collect()
    };
    let now = constants(&now);
    assert!(now.len() > 50, "the constants were not found");
    for constant in constants(&v1) {
        assert!(now.contains(&constant), "{constant} is gone or another");
    }
}

#[test]
fn the_headers_compile_without_a_warning_in_c_and_in_cpp() {
    let strict = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"];
    for (name, include) in headers() {
        for (compiler, ending, standards) in
            [("cc", "c", &["-std=c99", "-std=c11"][..]), ("c++", "cpp", &["-std=c++11", "-std=c++20"])]
        {
            let source = scratch().join(format!("alone_{name}.{ending}"));
            let drafts = if name == "now" { "#include \"sidetone_plugin_draft.h\"\n" } else { "" };
            fs::write(&source, format!("{drafts}#include \"sidetone_plugin.h\"\n")).unwrap();
            for standard in standards {
                compile(compiler, &[&strict[..], &[standard]].concat(), &include, &source);
            }
        }
    }
}
