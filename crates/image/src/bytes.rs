//! Numbers at fixed places of on-disk structures.

/// Puts bytes at a place; what would be outside is left out, as sizes are fixed by the structures' own constants.
pub(crate) fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = buffer.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

pub(crate) fn put_u16(buffer: &mut [u8], at: usize, value: u16) {
    put(buffer, at, &value.to_le_bytes());
}

pub(crate) fn put_u32(buffer: &mut [u8], at: usize, value: u32) {
    put(buffer, at, &value.to_le_bytes());
}

pub(crate) fn put_u64(buffer: &mut [u8], at: usize, value: u64) {
    put(buffer, at, &value.to_le_bytes());
}

/// A structure of fields one after the other; those with `be` have the highest byte first, the others the lowest.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<u8>);

impl Fields {
    pub(crate) fn u8(self, value: u8) -> Fields {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Fields {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Fields {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Fields {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn be16(self, value: u16) -> Fields {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn be32(self, value: u32) -> Fields {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn be64(self, value: u64) -> Fields {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Fields {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn zeros(mut self, count: usize) -> Fields {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}
