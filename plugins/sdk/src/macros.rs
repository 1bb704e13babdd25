//! `effect!`, `plugin!` and `choice!`.

/// Declares an effect: its name in graph files, its ports, parameters and state.
///
/// ```
/// use sidetone_plugin::*;
///
/// effect! {
///     /// Makes pictures darker.
///     ///
///     /// Whatever else a user should know, as Markdown.
///     pub struct Dim: VideoInPlace = "acme.dim", real_time, deterministic, identity_at_zero {
///         /// How much darker.
///         param 1 amount: f32 = 0.5, range(0.0..=1.0), step(0.01), live;
///         /// Where it should be as bright as it was.
///         input mask: mask, optional;
///         state pictures: u64 = 0, saved;
///         state table: [u8; 256] = [0; 256];
///     }
/// }
///
/// impl VideoInPlace for Dim {
///     fn process(&mut self, picture: &mut PictureMut<'_>, call: &Call<'_>) -> Result<Done, Error> {
///         if call.input(Self::mask)?.is_none() {
///             let keep = 1.0 - self.amount;
///             picture.y_mut().rows_mut().flatten().for_each(|y| *y = (f32::from(*y) * keep) as u8);
///         }
///         self.pictures += 1;
///         Ok(Done::Out)
///     }
/// }
/// # fn main() {}
/// ```
///
/// After the struct's name stands the trait that it has: [`VideoInPlace`],
/// [`VideoEffect`], [`AudioInPlace`], [`AudioEffect`] or [`Effect`]; then its kind and
/// what it promises: `in_place` (with `Effect` alone; the others say it by their
/// name), `real_time`, `deterministic`, `identity_at_zero`, `isolate`,
/// `latency_ns(…)`.
///
/// Its lines, in any order, each ending with a semicolon:
///
/// - `param NUMBER NAME: TYPE = DEFAULT, …;` with `range(0.0..=1.0)` for numbers,
///   and `step(0.1)`, `unit("dB")`, `live`, `required`. Types are those of
///   [`ParamType`]. It becomes a field, which holds the value at every call. The
///   number is what saved sessions and other versions know it by: never use one again
///   for something else.
/// - `input NAME: MEDIA, …;` with `optional`, `rate(48000)`, `channels(2)`. Media are
///   `video`, `audio`, `packets`, `opus`, `av1`, `data("acme.shape/1")`,
///   `face_landmarks`, `mask`. It becomes a constant for [`Call::input`]. All traits
///   but [`Effect`] have `in` already.
/// - `output NAME: MEDIA, …;` likewise, with `own_format`; for [`Effect`] alone.
/// - `state NAME: TYPE = FIRST;` a field of the author's own; with `, saved` it is part
///   of the saved state, see [`Saved`].
///
/// What cannot be (a default outside its range, a number used twice, text that is
/// `live`) does not compile.
///
/// [`VideoInPlace`]: crate::VideoInPlace
/// [`VideoEffect`]: crate::VideoEffect
/// [`AudioInPlace`]: crate::AudioInPlace
/// [`AudioEffect`]: crate::AudioEffect
/// [`Effect`]: crate::Effect
/// [`ParamType`]: crate::ParamType
/// [`Saved`]: crate::Saved
/// [`Call::input`]: crate::Call::input
#[macro_export]
macro_rules! effect {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident : $way:ident = $kind:literal $(, $flag:ident $(($argument:expr))?)* $(,)?
        { $($body:tt)* }
    ) => {
        $crate::__effect! {
            @lines
            [[$($doc)*] $vis $name $way $kind [$([$flag $(($argument))?])*]]
            inputs [] outputs [] params [] state []
            $($body)*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __effect {
    (
        @lines $head:tt inputs [$($inputs:tt)*] outputs $outputs:tt params $params:tt state $state:tt
        $(#[doc = $doc:literal])*
        input $name:ident : $media:ident $(($shape:literal))? $(, $flag:ident $(($argument:expr))?)* ;
        $($rest:tt)*
    ) => {
        $crate::__effect! {
            @lines $head
            inputs [$($inputs)* [[$($doc)*] $name $media [$($shape)?] [$([$flag $(($argument))?])*]]]
            outputs $outputs params $params state $state
            $($rest)*
        }
    };
    (
        @lines $head:tt inputs $inputs:tt outputs [$($outputs:tt)*] params $params:tt state $state:tt
        $(#[doc = $doc:literal])*
        output $name:ident : $media:ident $(($shape:literal))? $(, $flag:ident $(($argument:expr))?)* ;
        $($rest:tt)*
    ) => {
        $crate::__effect! {
            @lines $head inputs $inputs
            outputs [$($outputs)* [[$($doc)*] $name $media [$($shape)?] [$([$flag $(($argument))?])*]]]
            params $params state $state
            $($rest)*
        }
    };
    (
        @lines $head:tt inputs $inputs:tt outputs $outputs:tt params [$($params:tt)*] state $state:tt
        $(#[doc = $doc:literal])*
        param $id:literal $name:ident : $type:ident = $default:expr $(, $flag:ident $(($($argument:tt)*))?)* ;
        $($rest:tt)*
    ) => {
        $crate::__effect! {
            @lines $head inputs $inputs outputs $outputs
            params [$($params)* [[$($doc)*] $id $name $type ($default) [$([$flag $(($($argument)*))?])*]]]
            state $state
            $($rest)*
        }
    };
    (
        @lines $head:tt inputs $inputs:tt outputs $outputs:tt params $params:tt state [$($state:tt)*]
        $(#[doc = $doc:literal])*
        state $name:ident : $type:ty = $first:expr $(, $saved:ident)? ;
        $($rest:tt)*
    ) => {
        $crate::__effect! {
            @lines $head inputs $inputs outputs $outputs params $params
            state [$($state)* [$name ($type) ($first) [$($saved)?]]]
            $($rest)*
        }
    };
    (@lines $head:tt inputs $inputs:tt outputs $outputs:tt params $params:tt state $state:tt) => {
        $crate::__effect! { @declare $head $inputs $outputs $params $state }
    };
    (@lines $head:tt inputs $i:tt outputs $o:tt params $p:tt state $s:tt $($line:tt)*) => {
        compile_error!(concat!(
            "this is no line of an effect: ", stringify!($($line)*),
            "\nIt may have: param 1 name: f32 = 0.5, range(0.0..=1.0), live;  input name: video;  ",
            "output name: video;  state name: Type = first;"
        ));
    };
    (
        @declare
        [[$($doc:literal)*] $vis:vis $name:ident $way:ident $kind:literal [$([$flag:ident $(($argument:expr))?])*]]
        [$($input:tt)*] [$($output:tt)*]
        [$([[$($pdoc:literal)*] $id:literal $param:ident $ptype:ident $default:tt $pflags:tt])*]
        [$([$state:ident ($stype:ty) ($first:expr) [$($saved:ident)?]])*]
    ) => {
        $(#[doc = $doc])*
        $vis struct $name {
            $($param: $ptype,)*
            $($state: $stype,)*
        }

        #[allow(non_upper_case_globals, dead_code, unused_imports)]
        const _: () = {
            use $crate::__private as kit;

            impl kit::Declared for $name {
                type Way = kit::way::$way;
                const SPEC: kit::Spec = {
                    let mut spec = kit::Spec::new($kind, concat!($($doc, "\n"),*))$(.$flag($($argument)?))*;
                    spec = $crate::__effect!(@promise $way spec);
                    spec.inputs = $crate::__effect!(@ports $way inputs $($input)*);
                    spec.outputs = $crate::__effect!(@ports $way outputs $($output)*);
                    spec.params = &[$($crate::__effect!(
                        @param kit::Param::of::<$ptype>($id, stringify!($param), concat!($($pdoc),*)),
                        $ptype $default $pflags
                    )),*];
                    spec.saves = false $($(|| $crate::__effect!(@saved $saved))?)*;
                    spec.check();
                    spec
                };

                fn make(_values: &kit::Values<'_>) -> Self {
                    Self {
                        $($param: kit::ParamType::from_value(_values.get($id)),)*
                        $($state: $first,)*
                    }
                }

                fn set(&mut self, id: u32, _value: kit::Value<'_>) {
                    match id {
                        $($id => self.$param = kit::ParamType::from_value(_value),)*
                        _ => {}
                    }
                }

                fn save(&self, _to: &mut kit::Fields) {
                    $($crate::__effect!(@save [$($saved)?] _to self $state);)*
                }

                fn load(
                    &mut self,
                    _from: &kit::Fields,
                    accept: impl FnOnce(&mut Self) -> Result<(), kit::Error>,
                ) -> Result<(), kit::Error> {
                    $($crate::__effect!(@get [$($saved)?] _from $state);)*
                    $($crate::__effect!(@swap [$($saved)?] self $state);)*
                    let accepted = accept(self);
                    if accepted.is_err() {
                        $($crate::__effect!(@swap [$($saved)?] self $state);)*
                    }
                    accepted
                }
            }

            const _: kit::Spec = <$name as kit::Declared>::SPEC;
        };

        $crate::__effect! { @constants $name $way [$($input)*] [$($output)*] }
    };

    (@saved saved) => { true };
    (@save [] $to:ident $self:ident $state:ident) => {};
    (@save [saved] $to:ident $self:ident $state:ident) => { $to.put(stringify!($state), &$self.$state) };
    (@get [] $from:ident $state:ident) => {};
    (@get [saved] $from:ident $state:ident) => { let mut $state = $from.get(stringify!($state))?; };
    (@swap [] $self:ident $state:ident) => {};
    (@swap [saved] $self:ident $state:ident) => {
        if let Some(value) = &mut $state { core::mem::swap(value, &mut $self.$state) }
    };

    (@promise VideoInPlace $spec:ident) => { $spec.in_place() };
    (@promise AudioInPlace $spec:ident) => { $spec.in_place() };
    (@promise $way:ident $spec:ident) => { $spec };

    (@ports Effect $side:ident $($port:tt)*) => { &[$($crate::__effect!(@port $port)),*] };
    (@ports VideoInPlace inputs $($port:tt)*) => {
        &[kit::Port::video("in", "The pictures."), $($crate::__effect!(@port $port)),*]
    };
    (@ports VideoEffect inputs $($port:tt)*) => {
        &[kit::Port::video("in", "The pictures."), $($crate::__effect!(@port $port)),*]
    };
    (@ports AudioInPlace inputs $($port:tt)*) => {
        &[kit::Port::audio("in", "The sound."), $($crate::__effect!(@port $port)),*]
    };
    (@ports AudioEffect inputs $($port:tt)*) => {
        &[kit::Port::audio("in", "The sound."), $($crate::__effect!(@port $port)),*]
    };
    (@ports VideoInPlace outputs) => { &[kit::Port::video("out", "The same, changed.")] };
    (@ports VideoEffect outputs) => { &[kit::Port::video("out", "What is made of them.")] };
    (@ports AudioInPlace outputs) => { &[kit::Port::audio("out", "The same, changed.")] };
    (@ports AudioEffect outputs) => { &[kit::Port::audio("out", "What is made of it.")] };
    (@ports $way:ident outputs $($port:tt)*) => {
        compile_error!("only an Effect declares its outputs; all others have `out`")
    };
    (@port [[$($doc:literal)*] $name:ident $media:ident [$($shape:literal)?] [$([$flag:ident $(($argument:expr))?])*]]) => {
        kit::Port::$media(stringify!($name), concat!($($doc),*) $(, $shape)?)$(.$flag($($argument)?))*
    };

    (@param $param:expr, $type:ident ($default:expr) [$($flag:tt)*]) => {
        $crate::__effect!(@flags $crate::__effect!(@default $param, $type $default), $($flag)*)
    };
    (@default $param:expr, bool $default:expr) => { $param.default($default as u32 as f64, "") };
    (@default $param:expr, String $default:expr) => { $param.default(0.0, $default) };
    (@default $param:expr, PathBuf $default:expr) => { $param.default(0.0, $default) };
    (@default $param:expr, f32 $default:expr) => { $param.default($default as f64, "") };
    (@default $param:expr, f64 $default:expr) => { $param.default($default as f64, "") };
    (@default $param:expr, i64 $default:expr) => { $param.default($default as f64, "") };
    (@default $param:expr, i32 $default:expr) => { $param.default($default as f64, "") };
    (@default $param:expr, u32 $default:expr) => { $param.default($default as f64, "") };
    (@default $param:expr, usize $default:expr) => { $param.default($default as f64, "") };
    (@default $param:expr, $type:ident $default:expr) => { $param.default($default as u32 as f64, "") };
    (@flags $param:expr, ) => { $param };
    (@flags $param:expr, [range($min:literal..=$max:literal)] $($rest:tt)*) => {
        $crate::__effect!(@flags $param.range($min as f64, $max as f64), $($rest)*)
    };
    (@flags $param:expr, [step($step:literal)] $($rest:tt)*) => {
        $crate::__effect!(@flags $param.step($step as f64), $($rest)*)
    };
    (@flags $param:expr, [$flag:ident $(($argument:expr))?] $($rest:tt)*) => {
        $crate::__effect!(@flags $param.$flag($($argument)?), $($rest)*)
    };

    (@constants $name:ident Effect [$($input:tt)*] [$($output:tt)*]) => {
        $crate::__effect! { @constant $name 0 Input $($input)* }
        $crate::__effect! { @constant $name 0 Output $($output)* }
    };
    (@constants $name:ident $way:ident [$($input:tt)*] []) => {
        $crate::__effect! { @constant $name 1 Input $($input)* }
    };
    (@constants $($other:tt)*) => {};
    (@constant $name:ident $index:expr, $side:ident) => {};
    (@constant $name:ident $index:literal $side:ident $($port:tt)*) => {
        $crate::__effect! { @constant $name $index, $side $($port)* }
    };
    (
        @constant $name:ident $index:expr, $side:ident
        [[$($doc:literal)*] $port:ident $media:ident $shape:tt $flags:tt] $($rest:tt)*
    ) => {
        #[allow(non_upper_case_globals, dead_code)]
        impl $name {
            $(#[doc = $doc])*
            const $port: $crate::$side<$crate::__private::media::$media> = $crate::$side::at($index);
        }
        $crate::__effect! { @constant $name $index + 1, $side $($rest)* }
    };
}

/// Makes a library a plugin: its id, then its effects. Version, vendor (`authors`) and
/// licence are those of the crate's Cargo.toml.
///
/// ```
/// # use sidetone_plugin::*;
/// # effect! {
/// #     /// Does nothing.
/// #     pub struct Nothing: VideoInPlace = "acme.nothing", real_time {}
/// # }
/// # impl VideoInPlace for Nothing {
/// #     fn process(&mut self, _: &mut PictureMut<'_>, _: &Call<'_>) -> Result<Done, Error> { Ok(Done::Out) }
/// # }
/// plugin!("acme", Nothing);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! plugin {
    ($id:literal, $($effect:ty),+ $(,)?) => {
        const _: () = {
            $(assert!(
                $crate::__private::belongs(<$effect as $crate::__private::Declared>::SPEC.kind, $id),
                "the first word of a kind is the plugin's id",
            );)*
        };

        /// The plugin's table.
        ///
        /// # Safety
        /// Called by a host, as the C header says.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn sidetone_plugin_entry(
            host_abi: u32,
            host: *const $crate::__private::abi::Host,
        ) -> *const $crate::__private::abi::Bundle {
            static TABLE: std::sync::OnceLock<$crate::__private::Table> = std::sync::OnceLock::new();
            let origin = $crate::__private::Origin {
                id: $id,
                version: env!("CARGO_PKG_VERSION"),
                vendor: env!("CARGO_PKG_AUTHORS"),
                license: env!("CARGO_PKG_LICENSE"),
            };
            // SAFETY: the host's promise.
            unsafe {
                $crate::__private::entry(host_abi, host, &TABLE, origin, &[$($crate::__private::kind::<$effect>),+])
            }
        }
    };
}

/// Declares what a parameter may be chosen from: an enum, and the word of each in
/// graph files.
///
/// ```
/// use sidetone_plugin::*;
///
/// choice! {
///     /// The shape of a wave.
///     pub enum Wave { Sine = "sine", Square = "square" }
/// }
///
/// effect! {
///     /// Makes a voice sound like a robot's.
///     pub struct Robot: AudioInPlace = "acme.robot", real_time {
///         /// The shape of its wave.
///         param 1 wave: Wave = Wave::Sine, live;
///     }
/// }
/// # impl AudioInPlace for Robot {
/// #     fn process(&mut self, _: &mut SoundMut<'_>, _: &Call<'_>) -> Result<Done, Error> { Ok(Done::Out) }
/// # }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        $vis enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $crate::ParamType for $name {
            const TYPE: u32 = $crate::__private::abi::SIDETONE_PARAM_CHOICE;
            const CHOICES: &'static [&'static str] = &[$($word),+];
            fn from_value(value: $crate::Value<'_>) -> Self {
                const ALL: &[$name] = &[$($name::$variant),+];
                ALL[(value.number.max(0.0).round() as usize).min(ALL.len() - 1)]
            }
        }
    };
}
