//! The records of a zip file as bytes (APPNOTE 6.3.10, sections 4.3 and 4.5).

/// "Made by" Unix, so that readers look for modes; and the version of APPNOTE that has zip64.
const MADE_BY: u16 = (3 << 8) | 45;
const MAX_16: u64 = 0xffff;
const MAX_32: u32 = u32::MAX;
/// The name is UTF-8 (general purpose bit 11).
const FLAG_UTF8: u16 = 1 << 11;

/// One entry of a zip file.
pub(crate) struct Record {
    name: Vec<u8>,
    /// The file's type and permissions, as in `st_mode`.
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    size: u64,
    pub compressed: u64,
    pub crc: u32,
    /// Kept as it is, not deflated.
    pub stored: bool,
    /// Where the local header is.
    pub offset: u64,
    zip64: bool,
}

impl Record {
    pub(crate) fn new(name: Vec<u8>, mode: u32, owner: (u32, u32), mtime: i64, size: u64) -> Record {
        Record { name, mode, owner, mtime, size, compressed: 0, crc: 0, stored: size == 0, offset: 0, zip64: false }
    }

    /// Sets where the entry starts; from `zip64_from` on, sizes are written in 64 bits.
    pub(crate) fn begin(&mut self, offset: u64, zip64_from: u64) {
        self.offset = offset;
        self.zip64 = self.size >= zip64_from;
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.name.ends_with(b"/")
    }

    /// The header before the content. Its length does not depend on what is only known after the content.
    pub(crate) fn local_header(&self) -> Vec<u8> {
        let mut extra = Vec::new();
        if self.zip64 {
            extra_field(&mut extra, 0x0001, &[self.size.to_le_bytes(), self.compressed.to_le_bytes()].concat());
        }
        self.unix_fields(&mut extra);
        let mut header = 0x0403_4b50_u32.to_le_bytes().to_vec();
        self.common(&mut header, extra.len(), self.zip64);
        header.extend(&self.name);
        header.extend(extra);
        header
    }

    fn central_header(&self, zip64_from: u64) -> Vec<u8> {
        let far = self.offset >= zip64_from;
        let mut wide = Vec::new();
        if self.zip64 {
            wide.extend(self.size.to_le_bytes());
            wide.extend(self.compressed.to_le_bytes());
        }
        if far {
            wide.extend(self.offset.to_le_bytes());
        }
        let mut extra = Vec::new();
        if !wide.is_empty() {
            extra_field(&mut extra, 0x0001, &wide);
        }
        self.unix_fields(&mut extra);

        let mut header = 0x0201_4b50_u32.to_le_bytes().to_vec();
        header.extend(MADE_BY.to_le_bytes());
        self.common(&mut header, extra.len(), self.zip64 || far);
        // No comment, first disk, no internal attributes; then the mode, with the DOS bit for directories.
        header.extend([0; 6]);
        header.extend(((self.mode << 16) | if self.is_dir() { 0x10 } else { 0 }).to_le_bytes());
        header.extend(if far { MAX_32 } else { self.offset as u32 }.to_le_bytes());
        header.extend(&self.name);
        header.extend(extra);
        header
    }

    /// The fields that both headers have, from "version needed" to the length of the extra fields.
    fn common(&self, header: &mut Vec<u8>, extra: usize, wide: bool) {
        let (time, date) = dos_time(self.mtime);
        let utf8 = !self.name.is_ascii() && std::str::from_utf8(&self.name).is_ok();
        let method: u16 = if self.stored { 0 } else { 8 };
        let (compressed, size) = if self.zip64 { (MAX_32, MAX_32) } else { (self.compressed as u32, self.size as u32) };
        for word in [if wide { 45 } else { 20 }, if utf8 { FLAG_UTF8 } else { 0 }, method, time, date] {
            header.extend(word.to_le_bytes());
        }
        for word in [self.crc, compressed, size] {
            header.extend(word.to_le_bytes());
        }
        // Names are at most PATH_MAX long and the extra fields a few dozen bytes: both fit.
        for length in [self.name.len(), extra] {
            header.extend((length as u16).to_le_bytes());
        }
    }

    /// Info-ZIP's time (UT) and owner (ux).
    fn unix_fields(&self, extra: &mut Vec<u8>) {
        if let Ok(mtime) = i32::try_from(self.mtime) {
            extra_field(extra, 0x5455, &[[1].as_slice(), &mtime.to_le_bytes()].concat());
        }
        let (uid, gid) = (self.owner.0.to_le_bytes(), self.owner.1.to_le_bytes());
        extra_field(extra, 0x7875, &[[1, 4].as_slice(), &uid, &[4], &gid].concat());
    }
}

fn extra_field(extra: &mut Vec<u8>, id: u16, data: &[u8]) {
    extra.extend(id.to_le_bytes());
    extra.extend((data.len() as u16).to_le_bytes());
    extra.extend(data);
}

/// All that follows the entries: the central directory and its end, with zip64's where a number needs it.
pub(crate) fn central_directory(records: &[Record], at: u64, zip64_from: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = records.iter().flat_map(|record| record.central_header(zip64_from)).collect();
    let (count, size) = (records.len() as u64, bytes.len() as u64);
    if count >= MAX_16 || at >= zip64_from || size >= zip64_from {
        bytes.extend(0x0606_4b50_u32.to_le_bytes());
        bytes.extend(44u64.to_le_bytes());
        bytes.extend(MADE_BY.to_le_bytes());
        bytes.extend(45u16.to_le_bytes());
        bytes.extend([0; 8]);
        for number in [count, count, size, at] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(0x0706_4b50_u32.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend((at + size).to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
    }
    bytes.extend(0x0605_4b50_u32.to_le_bytes());
    bytes.extend([0; 4]);
    for _ in 0..2 {
        bytes.extend((count.min(MAX_16) as u16).to_le_bytes());
    }
    for number in [size, at] {
        bytes.extend(if number >= zip64_from { MAX_32 } else { number as u32 }.to_le_bytes());
    }
    bytes.extend([0; 2]);
    bytes
}

/// Time and date as DOS has them: UTC, even seconds, 1980 to 2107.
fn dos_time(seconds: i64) -> (u16, u16) {
    const FIRST: i64 = 315_532_800;
    const LAST: i64 = 4_354_819_198;
    let seconds = seconds.clamp(FIRST, LAST);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let time = ((of_day / 3600) << 11) | ((of_day / 60 % 60) << 5) | ((of_day % 60) / 2);
    let date = ((year - 1980) << 9) | (month << 5) | day;
    (time as u16, date as u16)
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. Years start in March here, which puts the leap day
/// at the end; 719,468 days lie between 0000-03-01 and 1970-01-01.
pub(crate) fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        // From `date -u -d @N`.
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(951_782_400 / 86_400), (2000, 2, 29));
        assert_eq!(civil(4_107_542_400 / 86_400), (2100, 3, 1));
        assert_eq!(dos_time(1_795_304_461), (23 << 11 | 41 << 5, 46 << 9 | 11 << 5 | 21));
        assert_eq!(dos_time(0), (0, 1 << 5 | 1));
        assert_eq!(dos_time(i64::MAX), (23 << 11 | 59 << 5 | 29, 127 << 9 | 12 << 5 | 31));
    }
}
