//! The ratios as a picture: for each measurement a bar for each contender, on a logarithmic scale, from the line of
//! `firewallnetns` up (slower) or down (faster). Samples in, the bytes of a PNG out.

use std::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::{FONT_7X13, FONT_10X20};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::primitives::{Line, Primitive, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Alignment, Text};

use crate::BenchError;
use crate::contender::Contender;
use crate::measure::Samples;
use crate::report::{Quartiles, short};

const WIDTH: i32 = 1100;
const HEIGHT: i32 = 560;
/// Where the bars are.
const LEFT: i32 = 70;
const RIGHT: i32 = WIDTH - 20;
const TOP: i32 = 90;
const BOTTOM: i32 = HEIGHT - 50;
/// The widest bar, in a plot of few measurements.
const BAR_MAX: i32 = 36;

const INK: Rgb888 = Rgb888::new(0x33, 0x33, 0x33);
const GRID: Rgb888 = Rgb888::new(0xe0, 0xe0, 0xe0);

/// The contenders that have bars, with their colours, which colour-blind people can tell apart (Okabe and Ito).
const COLOURS: [(Contender, Rgb888); 5] = [
    (Contender::Floor, Rgb888::new(0x00, 0x9e, 0x73)),
    (Contender::ChangesOnly, Rgb888::new(0x56, 0xb4, 0xe9)),
    (Contender::Restore, Rgb888::new(0xe6, 0x9f, 0x00)),
    (Contender::Nft, Rgb888::new(0x00, 0x72, 0xb2)),
    (Contender::OneByOne, Rgb888::new(0xd5, 0x5e, 0x00)),
];

/// Draws the ratios of all samples.
///
/// # Errors
/// [`BenchError::Plot`]
pub fn render_plot(all: &[Samples]) -> Result<Vec<u8>, BenchError> {
    let mut canvas = Canvas::new();
    let Ok(()) = draw(&mut canvas, all);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, WIDTH.unsigned_abs(), HEIGHT.unsigned_abs());
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&canvas.pixels)?;
    Ok(bytes)
}

fn draw(canvas: &mut Canvas, all: &[Samples]) -> Result<(), Infallible> {
    let large = MonoTextStyle::new(&FONT_10X20, INK);
    let small = MonoTextStyle::new(&FONT_7X13, INK);
    Text::new("Wall time as a multiple of that of firewallnetns", Point::new(LEFT, 28), large)
        .draw(canvas)?;
    let mut x = LEFT;
    for (contender, colour) in COLOURS {
        rectangle(canvas, (x, 46), (x + 12, 58), colour)?;
        Text::new(contender.name(), Point::new(x + 18, 57), small).draw(canvas)?;
        x += 130;
    }
    Text::new("median, quartiles; log scale", Point::new(x, 57), small).draw(canvas)?;

    let scale = Scale::of(all);
    for decade in scale.low..=scale.high {
        let y = scale.y(10_f64.powi(decade));
        line(canvas, (LEFT, y), (RIGHT, y), GRID, 1)?;
        let label = if decade < 0 {
            format!("{:.*}", decade.unsigned_abs() as usize, 10_f64.powi(decade))
        } else {
            format!("{:.0}", 10_f64.powi(decade))
        };
        Text::with_alignment(&label, Point::new(LEFT - 8, y + 4), small, Alignment::Right).draw(canvas)?;
    }
    let groups = i32::try_from(all.len()).unwrap_or(i32::MAX).max(1);
    let group = (RIGHT - LEFT) / groups;
    for (samples, left) in all.iter().zip((0..).map(|number| LEFT + number * group)) {
        let title = Point::new(left + group / 2, BOTTOM + 22);
        Text::with_alignment(&samples.title(), title, small, Alignment::Center).draw(canvas)?;
        draw_group(canvas, samples, &scale, left, group)?;
    }
    let one = scale.y(1.0);
    line(canvas, (LEFT, one), (RIGHT, one), INK, 2)
}

fn draw_group(
    canvas: &mut Canvas,
    samples: &Samples,
    scale: &Scale,
    left: i32,
    width: i32,
) -> Result<(), Infallible> {
    let bars: Vec<_> = COLOURS
        .into_iter()
        .filter_map(|(contender, colour)| Some((samples.ratio(contender)?, colour)))
        .collect();
    let count = i32::try_from(bars.len()).unwrap_or(i32::MAX).max(1);
    let bar = (width * 4 / 5 / count).clamp(2, BAR_MAX);
    let mut x = left + (width - bar * count) / 2;
    for (ratio, colour) in bars {
        draw_bar(canvas, scale, ratio, colour, (x, bar))?;
        x += bar;
    }
    Ok(())
}

fn draw_bar(
    canvas: &mut Canvas,
    scale: &Scale,
    ratio: Quartiles,
    colour: Rgb888,
    (x, width): (i32, i32),
) -> Result<(), Infallible> {
    let (one, end) = (scale.y(1.0), scale.y(ratio.median));
    rectangle(canvas, (x + 1, one.min(end)), (x + width - 1, one.max(end)), colour)?;
    let middle = x + width / 2;
    let (low, high) = (scale.y(ratio.low), scale.y(ratio.high));
    line(canvas, (middle, low), (middle, high), INK, 1)?;
    for y in [low, high] {
        line(canvas, (middle - 3, y), (middle + 3, y), INK, 1)?;
    }
    // beyond the end of the bar and the quartiles
    let y = if end <= one { high.min(end) - 5 } else { low.max(end) + 14 };
    let style = MonoTextStyle::new(&FONT_7X13, INK);
    Text::with_alignment(&short(ratio.median), Point::new(middle, y), style, Alignment::Center)
        .draw(canvas)?;
    Ok(())
}

fn line(
    canvas: &mut Canvas,
    from: (i32, i32),
    to: (i32, i32),
    colour: Rgb888,
    width: u32,
) -> Result<(), Infallible> {
    Line::new(from.into(), to.into()).into_styled(PrimitiveStyle::with_stroke(colour, width)).draw(canvas)
}

fn rectangle(
    canvas: &mut Canvas,
    from: (i32, i32),
    to: (i32, i32),
    colour: Rgb888,
) -> Result<(), Infallible> {
    let area = Rectangle::with_corners(from.into(), to.into());
    area.into_styled(PrimitiveStyle::with_fill(colour)).draw(canvas)
}

/// From ratios to rows, by whole powers of ten.
#[derive(Debug)]
struct Scale {
    low: i32,
    high: i32,
}

impl Scale {
    fn of(all: &[Samples]) -> Self {
        let ratios =
            || all.iter().flat_map(|samples| COLOURS.iter().filter_map(|(one, _)| samples.ratio(*one)));
        let low = ratios().map(|ratio| ratio.low.log10()).fold(-0.1, f64::min);
        let high = ratios().map(|ratio| ratio.high.log10()).fold(0.1, f64::max);
        #[expect(clippy::cast_possible_truncation, reason = "times differ by less than 10^100")]
        let scale = Self { low: low.floor() as i32, high: high.ceil() as i32 };
        scale
    }

    fn y(&self, ratio: f64) -> i32 {
        let share = (ratio.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        #[expect(clippy::cast_possible_truncation, reason = "a row of the picture")]
        let rows = (f64::from(BOTTOM - TOP) * share).round() as i32;
        BOTTOM - rows
    }
}

/// Pixels, three bytes each.
#[derive(Debug)]
struct Canvas {
    pixels: Vec<u8>,
}

impl Canvas {
    fn new() -> Self {
        Self { pixels: vec![0xff; (WIDTH * HEIGHT * 3).unsigned_abs() as usize] }
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(WIDTH.unsigned_abs(), HEIGHT.unsigned_abs())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            if !(0..WIDTH).contains(&x) || !(0..HEIGHT).contains(&y) {
                continue;
            }
            let at = ((y * WIDTH + x) * 3).unsigned_abs() as usize;
            if let Some(pixel) = self.pixels.get_mut(at..at + 3) {
                pixel.copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::contender::Operation;
    use crate::workload::Workload;

    #[test]
    fn bars_go_up_for_slower_and_down_for_faster() {
        let times = |ms| vec![Duration::from_millis(ms); 3];
        let samples = Samples {
            workload: Workload::Seed,
            operation: Operation::Add,
            times: vec![
                (Contender::Ours, times(10)),
                (Contender::Floor, times(2)),
                (Contender::OneByOne, times(500)),
            ],
        };
        let scale = Scale::of(std::slice::from_ref(&samples));
        assert_eq!((scale.low, scale.high), (-1, 2));
        let bytes = render_plot(&[samples]).expect("a picture");
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        reader.next_frame(&mut pixels).expect("pixels");
        let rows = |(_, colour): (Contender, Rgb888)| {
            let is_it = |row: &[u8]| row.chunks(3).any(|pixel| pixel == [colour.r(), colour.g(), colour.b()]);
            let row_bytes = WIDTH.unsigned_abs() as usize * 3;
            let all = pixels.chunks(row_bytes).enumerate().filter(|(_, row)| is_it(row)).map(|(y, _)| y);
            all.filter(|y| *y > TOP.unsigned_abs() as usize).collect::<Vec<_>>()
        };
        let one = scale.y(1.0).unsigned_abs() as usize;
        let [floor, _, restore, _, one_by_one] = COLOURS.map(rows);
        assert!(floor.first().is_some_and(|y| *y >= one), "below the line: {floor:?}");
        assert!(one_by_one.last().is_some_and(|y| *y <= one), "above the line: {one_by_one:?}");
        assert_eq!(restore, [0; 0], "took no part");
    }
}
