//! libaom's AV1 encoder in real-time mode: a small safe wrapper.
//!
//! One picture in, one temporal unit out, nothing held back: one pass, no
//! lookahead, constant bit rate, no frame dropped by the encoder. The tools
//! that cost much time for little gain at real-time speeds are off: the same
//! choice that WebRTC makes (`modules/video_coding/codecs/av1`).

use std::mem::MaybeUninit;
use std::ptr;

use libaom_sys as ffi;
use sidetone_core::{Frame, Size};

use crate::av1_settings::{Refused, Settings};

/// Ticks per second of the time stamps: the RTP clock of AV1.
pub(crate) const TICKS: u32 = 90_000;

/// One temporal unit, in the encoder's memory until the next call.
pub(crate) struct Packet<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) key: bool,
}

/// An encoder for pictures of one size.
pub(crate) struct Encoder {
    // Boxed, so that it stays where it was when libaom filled it in.
    context: Box<ffi::aom_codec_ctx_t>,
    config: Box<ffi::aom_codec_enc_cfg_t>,
}

// SAFETY: libaom's encoder keeps nothing in thread-local storage; a context may
// be used from any thread, by one at a time, which `&mut self` ensures.
#[allow(unsafe_code)]
unsafe impl Send for Encoder {}

impl Encoder {
    /// An encoder. \[control\]
    pub(crate) fn new(settings: &Settings) -> Result<Self, Refused> {
        let config = Box::new(config(settings)?);
        let mut context = Box::new(MaybeUninit::<ffi::aom_codec_ctx_t>::zeroed());
        // SAFETY: the context is writable memory of the right size, the
        // configuration outlives the call (libaom keeps its own copy), and the
        // version is that of the headers these bindings were made from.
        #[allow(unsafe_code)]
        let code = unsafe {
            ffi::aom_codec_enc_init_ver(
                context.as_mut_ptr(),
                ffi::aom_codec_av1_cx(),
                &raw const *config,
                0,
                ffi::AOM_ENCODER_ABI_VERSION as i32,
            )
        };
        check(code)?;
        // SAFETY: all-zero bytes are a valid context (integers and nullable
        // pointers), and a successful init filled it in. On failure libaom
        // cleans up after itself and the context is not used.
        #[allow(unsafe_code)]
        let context = unsafe { context.assume_init() };
        let mut encoder = Self { context, config };
        for (control, value) in controls(settings) {
            encoder.control(control, value)?;
        }
        Ok(encoder)
    }

    /// Changes the bit rate from the next picture on.
    pub(crate) fn set_bitrate(&mut self, bitrate_kbps: u32) -> Result<(), Refused> {
        if self.config.rc_target_bitrate == bitrate_kbps {
            return Ok(());
        }
        self.config.rc_target_bitrate = bitrate_kbps;
        // SAFETY: the context was initialised by `new`, and libaom copies the
        // configuration.
        #[allow(unsafe_code)]
        check(unsafe { ffi::aom_codec_enc_config_set(&raw mut *self.context, &raw const *self.config) })
    }

    /// Changes the speed from the next picture on.
    pub(crate) fn set_speed(&mut self, speed: u8) -> Result<(), Refused> {
        self.control(ffi::AOME_SET_CPUUSED, i32::from(speed))
    }

    /// Encodes one picture, shown at `pts` for `duration` ticks; `pts` must
    /// grow from call to call. `None` only where libaom made no packet.
    pub(crate) fn encode(
        &mut self,
        picture: &Frame,
        pts: i64,
        duration: u32,
        key: bool,
    ) -> Result<Option<Packet<'_>>, Refused> {
        let image = self.image(picture)?;
        let flags = if key { i64::from(ffi::AOM_EFLAG_FORCE_KF) } else { 0 };
        // SAFETY: the image's planes point into `picture`, which is borrowed
        // for longer than the call; `image` made sure that they are as large as
        // the encoder's size; libaom only reads them and copies what it keeps.
        #[allow(unsafe_code)]
        let code = unsafe {
            ffi::aom_codec_encode(
                &raw mut *self.context,
                &raw const image,
                pts,
                duration.max(1).into(),
                flags as ffi::aom_enc_frame_flags_t,
            )
        };
        check(code)?;
        Ok(self.packet())
    }

    fn packet(&mut self) -> Option<Packet<'_>> {
        let mut iter: ffi::aom_codec_iter_t = ptr::null();
        loop {
            // SAFETY: the context is initialised and `iter` begins as null, as
            // the call wants; a packet it gives stays valid until the next call
            // on the context, which the returned borrow of `self` rules out.
            #[allow(unsafe_code)]
            let packet =
                unsafe { ffi::aom_codec_get_cx_data(&raw mut *self.context, &raw mut iter).as_ref() }?;
            if packet.kind != ffi::AOM_CODEC_CX_FRAME_PKT {
                continue;
            }
            // SAFETY: `kind` says which member of the union is set, and its
            // `buf` holds `sz` bytes for as long as the packet is valid.
            #[allow(unsafe_code)]
            return unsafe {
                let frame = packet.data.frame;
                (!frame.buf.is_null()).then(|| Packet {
                    data: std::slice::from_raw_parts(frame.buf.cast(), frame.sz),
                    key: frame.flags & ffi::AOM_FRAME_IS_KEY != 0,
                })
            };
        }
    }

    /// A description of `picture` for libaom, if it is of the encoder's size.
    fn image(&self, picture: &Frame) -> Result<ffi::aom_image_t, Refused> {
        let size = picture.video().map(|video| video.size);
        if size != Some(Size::new(self.config.g_w, self.config.g_h)) {
            return Err(Refused("the picture is not of the encoder's size"));
        }
        // SAFETY: the structure is integers and nullable pointers, for which
        // zero is valid and means "not given".
        #[allow(unsafe_code)]
        let mut image: ffi::aom_image_t = unsafe { MaybeUninit::zeroed().assume_init() };
        image.fmt = ffi::AOM_IMG_FMT_I420;
        (image.w, image.h) = (self.config.g_w, self.config.g_h);
        (image.d_w, image.d_h) = (image.w, image.h);
        (image.x_chroma_shift, image.y_chroma_shift) = (1, 1);
        image.bit_depth = 8;
        image.bps = 12;
        for index in 0..3 {
            let plane = picture.plane(index);
            image.planes[index] = plane.data.as_ptr().cast_mut();
            image.stride[index] =
                i32::try_from(plane.stride).map_err(|_| Refused("the picture's rows are too long"))?;
        }
        Ok(image)
    }

    fn control(&mut self, control: ffi::aome_enc_control_id, value: i32) -> Result<(), Refused> {
        // SAFETY: every control in `controls` takes one int (signed or not),
        // which is what is passed.
        #[allow(unsafe_code)]
        check(unsafe { ffi::aom_codec_control(&raw mut *self.context, control as i32, value) })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the context was initialised by `new` and is destroyed once.
        #[allow(unsafe_code)]
        unsafe {
            ffi::aom_codec_destroy(&raw mut *self.context);
        }
    }
}

fn config(settings: &Settings) -> Result<ffi::aom_codec_enc_cfg_t, Refused> {
    let mut config = MaybeUninit::<ffi::aom_codec_enc_cfg_t>::zeroed();
    // SAFETY: the call writes the whole structure where it succeeds; where it
    // does not, `check` returns before the structure is read.
    #[allow(unsafe_code)]
    let mut config = unsafe {
        check(ffi::aom_codec_enc_config_default(
            ffi::aom_codec_av1_cx(),
            config.as_mut_ptr(),
            ffi::AOM_USAGE_REALTIME,
        ))?;
        config.assume_init()
    };
    (config.g_w, config.g_h) = (settings.size.width, settings.size.height);
    config.g_threads = settings.threads.into();
    config.g_timebase = ffi::aom_rational { num: 1, den: TICKS as i32 };
    config.g_pass = ffi::AOM_RC_ONE_PASS;
    config.g_lag_in_frames = 0;
    // Lost packets are answered with a key frame on demand; resilience within
    // the stream would cost bits in every frame.
    config.g_error_resilient = 0;
    config.kf_mode = ffi::AOM_KF_DISABLED;
    config.rc_end_usage = ffi::AOM_CBR;
    config.rc_target_bitrate = settings.bitrate_kbps;
    config.rc_dropframe_thresh = 0;
    // Better than 10 is not worth its bits; the worst is for a hard-pressed link.
    config.rc_min_quantizer = settings.min_q.unwrap_or(10).into();
    config.rc_max_quantizer = settings.max_q.unwrap_or(60).into();
    config.rc_undershoot_pct = 50;
    config.rc_overshoot_pct = 50;
    // In ms of the bit rate: how far the sizes of frames may run ahead of it.
    config.rc_buf_initial_sz = 600;
    config.rc_buf_optimal_sz = 600;
    config.rc_buf_sz = 1_000;
    Ok(config)
}

fn controls(settings: &Settings) -> impl Iterator<Item = (ffi::aome_enc_control_id, i32)> {
    // Tiles are what threads share out; a tile narrower than 256 gains nothing.
    let columns = u32::from(settings.threads).min(settings.size.width / 256).max(1).ilog2();
    let chosen = [
        (ffi::AOME_SET_CPUUSED, i32::from(settings.speed)),
        (ffi::AV1E_SET_TILE_COLUMNS, columns as i32),
        (ffi::AV1E_SET_ROW_MT, i32::from(settings.threads > 1)),
        // Cyclic refresh: spends bits on blocks that change little, in turn.
        (ffi::AV1E_SET_AQ_MODE, 3),
        (ffi::AV1E_SET_ENABLE_CDEF, 1),
        // A key frame takes at most three frames' bits.
        (ffi::AOME_SET_MAX_INTRA_BITRATE_PCT, 300),
        // Entropy costs are brought up to date as seldom as may be.
        (ffi::AV1E_SET_COEFF_COST_UPD_FREQ, 3),
        (ffi::AV1E_SET_MODE_COST_UPD_FREQ, 3),
        (ffi::AV1E_SET_MV_COST_UPD_FREQ, 3),
        (ffi::AV1E_SET_INTRA_DEFAULT_TX_ONLY, 1),
        (ffi::AV1E_SET_DISABLE_TRELLIS_QUANT, 1),
        (ffi::AV1E_SET_MAX_REFERENCE_FRAMES, 3),
        // What `PixelFormat::I420` is: BT.601 primaries, transfer and matrix.
        (ffi::AV1E_SET_COLOR_PRIMARIES, ffi::AOM_CICP_CP_BT_601 as i32),
        (ffi::AV1E_SET_TRANSFER_CHARACTERISTICS, ffi::AOM_CICP_TC_BT_601 as i32),
        (ffi::AV1E_SET_MATRIX_COEFFICIENTS, ffi::AOM_CICP_MC_BT_601 as i32),
    ];
    chosen.into_iter().chain(OFF.into_iter().map(|control| (control, 0)))
}

/// Tools that are off.
const OFF: [ffi::aome_enc_control_id; 25] = [
    ffi::AV1E_SET_DELTAQ_MODE,
    ffi::AV1E_SET_ENABLE_ANGLE_DELTA,
    ffi::AV1E_SET_ENABLE_CFL_INTRA,
    ffi::AV1E_SET_ENABLE_DIFF_WTD_COMP,
    ffi::AV1E_SET_ENABLE_DIST_WTD_COMP,
    ffi::AV1E_SET_ENABLE_DUAL_FILTER,
    ffi::AV1E_SET_ENABLE_FILTER_INTRA,
    ffi::AV1E_SET_ENABLE_GLOBAL_MOTION,
    ffi::AV1E_SET_ENABLE_INTERINTRA_COMP,
    ffi::AV1E_SET_ENABLE_INTRABC,
    ffi::AV1E_SET_ENABLE_INTRA_EDGE_FILTER,
    ffi::AV1E_SET_ENABLE_MASKED_COMP,
    ffi::AV1E_SET_ENABLE_OBMC,
    ffi::AV1E_SET_ENABLE_ORDER_HINT,
    ffi::AV1E_SET_ENABLE_PAETH_INTRA,
    ffi::AV1E_SET_ENABLE_PALETTE,
    ffi::AV1E_SET_ENABLE_QM,
    ffi::AV1E_SET_ENABLE_RECT_PARTITIONS,
    ffi::AV1E_SET_ENABLE_REF_FRAME_MVS,
    ffi::AV1E_SET_ENABLE_RESTORATION,
    ffi::AV1E_SET_ENABLE_SMOOTH_INTRA,
    ffi::AV1E_SET_ENABLE_TPL_MODEL,
    ffi::AV1E_SET_ENABLE_TX64,
    ffi::AV1E_SET_ENABLE_WARPED_MOTION,
    ffi::AV1E_SET_NOISE_SENSITIVITY,
];

fn check(code: ffi::aom_codec_err_t) -> Result<(), Refused> {
    if code == ffi::AOM_CODEC_OK {
        return Ok(());
    }
    Err(Refused(match code {
        ffi::AOM_CODEC_MEM_ERROR => "libaom: out of memory",
        ffi::AOM_CODEC_ABI_MISMATCH => "libaom: its version is not that of the bindings",
        ffi::AOM_CODEC_INCAPABLE => "libaom: built without the encoder",
        ffi::AOM_CODEC_INVALID_PARAM => "libaom: invalid parameter",
        _ => "libaom: the encoder failed",
    }))
}
