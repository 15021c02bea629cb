//! A position that a client may carry from one session to another: what `SHOW pgweir.lsn` tells and `SET` takes.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A position in the log of one system, on one timeline. In words: `7301234567890123456/1/0/3000060`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The system's identifier; 0: it doesn't say.
    pub system: u64,
    /// Its timeline; 0: it doesn't say.
    pub timeline: u32,
    /// The position.
    pub lsn: u64,
}

/// It isn't a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a position is written SYSTEM/TIMELINE/LSN, as SHOW pgweir.lsn tells it")]
pub struct TokenError;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{:X}/{:X}", self.system, self.timeline, self.lsn >> 32, self.lsn & 0xffff_ffff)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Token, TokenError> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(TokenError);
        let (system, timeline, high, low) = (next()?, next()?, next()?, next()?);
        let half = |digits: &str| u32::from_str_radix(digits, 16).map(u64::from).map_err(|_| TokenError);
        let token = Token {
            system: system.parse().map_err(|_| TokenError)?,
            timeline: timeline.parse().map_err(|_| TokenError)?,
            lsn: half(high)? << 32 | half(low)?,
        };
        if parts.next().is_some() { Err(TokenError) } else { Ok(token) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_was_made_of() {
        let token = Token { system: 7_301_234_567_890_123_456, timeline: 12, lsn: 0x2_0300_0060 };
        assert_eq!(token.to_string(), "7301234567890123456/12/2/3000060");
        assert_eq!(token.to_string().parse(), Ok(token));
        for wrong in
            ["", "1", "1/2/3", "1/2/3/4/5", "x/1/0/0", "1/-1/0/0", "1/1/0/1FFFFFFFF", "1/1/G/0", "1/1//"]
        {
            assert_eq!(wrong.parse::<Token>(), Err(TokenError), "{wrong}");
        }
    }
}
