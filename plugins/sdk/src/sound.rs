//! Sound: one plane of samples a channel.

use sidetone_plugin_abi as abi;

use crate::Error;
use crate::frame::Lent;
use crate::media::{Edit, Header, Reading, View, Writing};

/// The most channels that sound has.
const CHANNELS: usize = 8;

/// Sound to be read: 32-bit float samples, nominally −1 to 1, one slice a channel.
/// \[real-time\]
pub struct Sound<'a> {
    frame: Lent<'a>,
    length: usize,
}

/// Sound to be written, or, in an effect that works in place, to be changed.
/// \[real-time\]
pub struct SoundMut<'a> {
    frame: Lent<'a>,
    length: usize,
}

/// Samples a channel of a frame that is sound.
fn length(frame: &Lent<'_>) -> Result<usize, Error> {
    let fields = frame.fields();
    let is = fields.media == abi::SIDETONE_MEDIA_AUDIO
        && fields.format == abi::SIDETONE_FORMAT_F32
        && fields.rate > 0
        && (1..=CHANNELS).contains(&(fields.plane_count as usize));
    if !is {
        return Err(Error::format("this is no sound in 32-bit float"));
    }
    let width = frame.plane(0)?.width;
    for index in 0..fields.plane_count as usize {
        let plane = frame.plane(index)?;
        if plane.width != width || plane.height != 1 {
            return Err(Error::format("channels differ in length"));
        }
        frame.samples::<f32>(index, width as usize)?;
    }
    Ok(width as usize)
}

impl<'a> View<'a> for Sound<'a> {
    fn of(Reading(frame): Reading<'a>) -> Result<Self, Error> {
        let length = length(&frame)?;
        Ok(Self { frame, length })
    }
}

impl<'a> Sound<'a> {
    /// Samples per second.
    pub fn rate(&self) -> u32 {
        self.frame.fields().rate
    }

    /// Samples a channel.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// When its first sample was captured, and what else is known of it.
    pub fn header(&self) -> Header {
        Header::of(&self.frame)
    }

    /// How many channels there are, 1 to 8.
    pub fn channel_count(&self) -> usize {
        self.frame.fields().plane_count as usize
    }

    /// The samples of a channel. Panics where there is none.
    pub fn channel(&self, channel: usize) -> &'a [f32] {
        assert!(channel < self.channel_count(), "there is no channel {channel}");
        // That it is there was checked when this was made.
        self.frame.samples(channel, self.length).map_or(&[], |(samples, _)| samples)
    }

    /// The channels.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        (0..self.channel_count()).map(|channel| self.channel(channel))
    }
}

impl<'a> Edit<'a> for SoundMut<'a> {
    fn of(Writing(frame): Writing<'a>) -> Result<Self, Error> {
        let length = length(&frame)?;
        Ok(Self { frame, length })
    }
}

impl SoundMut<'_> {
    /// Samples per second.
    pub fn rate(&self) -> u32 {
        self.frame.fields().rate
    }

    /// Samples a channel.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// When its first sample was captured, and what else is known of it.
    pub fn header(&self) -> Header {
        Header::of(&self.frame)
    }

    /// Says when its first sample was captured, and what else is known of it.
    pub fn set_header(&mut self, header: Header) {
        header.write(&mut self.frame);
    }

    /// How many channels there are, 1 to 8.
    pub fn channel_count(&self) -> usize {
        self.frame.fields().plane_count as usize
    }

    /// The samples of a channel. Panics where there is none.
    pub fn channel_mut(&mut self, channel: usize) -> &mut [f32] {
        assert!(channel < self.channel_count(), "there is no channel {channel}");
        // That it is there was checked when this was made.
        self.frame.samples_mut(channel, self.length).map_or(&mut [], |(samples, _)| samples)
    }

    /// Does something with each channel: its number and its samples.
    pub fn each_channel(&mut self, mut work: impl FnMut(usize, &mut [f32])) {
        for channel in 0..self.channel_count() {
            work(channel, self.channel_mut(channel));
        }
    }

    /// Makes it the same as `sound`, which has its channels and length.
    pub fn copy_from(&mut self, sound: &Sound<'_>) -> Result<(), Error> {
        if (self.channel_count(), self.len()) != (sound.channel_count(), sound.len()) {
            return Err(Error::format("only sound of the same length and channels can be copied"));
        }
        self.each_channel(|channel, samples| samples.copy_from_slice(sound.channel(channel)));
        Ok(())
    }
}

/// `value`, or 0 where it is too small to be heard (below −300 dB): for what an
/// effect feeds back to itself. Numbers below 1.2e-38 take a processor up to a
/// hundred times as long as others, and what dies away ends up there. \[real-time\]
pub fn settle(value: f32) -> f32 {
    if value.abs() < 1e-15 { 0.0 } else { value }
}
