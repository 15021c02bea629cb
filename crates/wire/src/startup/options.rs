//! The startup parameter `options`: a command line for the server process, of which settings are taken.

use super::StartupError;

/// Splits at white space, undoes backslashes, and reads `-c name=value`, `-cname=value`, `--name=value`.
///
/// A dash in a name is an underscore, as on Postgres' command line.
pub(super) fn parse(options: &str) -> Result<Vec<(String, String)>, StartupError> {
    let mut settings = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        let setting = if let Some(setting) = word.strip_prefix("--") {
            setting.to_owned()
        } else if word == "-c" {
            words.next().ok_or(StartupError::OptionWithoutValue(word))?
        } else if let Some(setting) = word.strip_prefix("-c") {
            setting.to_owned()
        } else {
            return Err(StartupError::UnknownSwitch(word));
        };
        settings.push(name_and_value(setting)?);
    }
    Ok(settings)
}

fn name_and_value(setting: String) -> Result<(String, String), StartupError> {
    match setting.split_once('=') {
        Some(("", _)) => Err(StartupError::EmptyOption),
        Some((name, value)) => Ok((name.replace('-', "_"), value.to_owned())),
        None if setting.is_empty() => Err(StartupError::EmptyOption),
        None => Err(StartupError::OptionWithoutValue(setting)),
    }
}

/// Words between white space (as C's `isspace` has it); a backslash takes the next character as it is, and
/// one at the very end is dropped.
fn split(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &str) -> Vec<(String, String)> {
        parse(options).unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn settings_in_all_their_spellings() {
        assert_eq!(
            parsed("-c statement_timeout=5s  -csearch_path=a,b\t--work-mem=4MB\n"),
            [pair("statement_timeout", "5s"), pair("search_path", "a,b"), pair("work_mem", "4MB")]
        );
        assert_eq!(parsed(""), []);
        assert_eq!(parsed("  "), []);
        assert_eq!(parsed("-c a="), [pair("a", "")]);
        assert_eq!(parsed("--a=b=c"), [pair("a", "b=c")]);
    }

    #[test]
    fn backslashes_keep_the_next_character() {
        assert_eq!(parsed(r"-c application_name=my\ app"), [pair("application_name", "my app")]);
        assert_eq!(parsed(r"-c a=b\\c"), [pair("a", r"b\c")]);
        assert_eq!(parsed(r"-c a=b\"), [pair("a", "b")]);
        assert_eq!(parsed(r"-c a=é\é"), [pair("a", "éé")]);
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for empty in ["-c =1", "-c=1", "--=1", "--", "-c ="] {
            assert_eq!(parse(empty), Err(StartupError::EmptyOption), "{empty}");
        }
        for bare in ["-c", "-c a", "--a", "-ca"] {
            assert!(matches!(parse(bare), Err(StartupError::OptionWithoutValue(_))), "{bare}");
        }
        for other in ["-e", "a=b", "-", r"\"] {
            assert!(matches!(parse(other), Err(StartupError::UnknownSwitch(_))), "{other}");
        }
    }
}
