//! `command "npm start"`: one word where two were probably meant.

use crate::code::Code;
use crate::draft::Argv;
use crate::finding::{Finding, Findings};

/// Points it out. It may be meant: an image's entrypoint can be a shell.
pub(crate) fn one_word(command: Option<&Argv>, out: &mut Findings) {
    let Some([word]) = command.map(|argv| argv.words.as_slice()) else { return };
    let Some(text) = word.template.as_text().filter(|text| text.contains(' ')) else { return };
    let finding = Finding::new(Code::OneWord, word.span, "a command of one word with spaces");
    let apart: Vec<String> = text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
    let plain = text.len() < 60 && !text.contains(['"', '\'', '\\', '\n', '$']);
    let hint = if plain {
        format!("did you mean `command {}`?", apart.join(" "))
    } else {
        "write each word as a text".to_owned()
    };
    out.warning(finding.hint(hint));
}
