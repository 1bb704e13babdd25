//! `Layout`: where each node of a picture stands. Media flow to the right, a
//! layer for each step; nodes that belong together stand in one band.
//!
//! Method: longest-path layers, crossings reduced by barycentres (Sugiyama,
//! Tagawa, Toda 1981), and bands packed where their layers are free. Nothing
//! depends on chance or on the order of a hash, so the same graph gives the
//! same picture.

use std::collections::{HashMap, HashSet};

use crate::negotiate::Order;
use crate::net::{Net, NetLink};

/// Height of a node, and of the space below it.
pub(crate) const NODE_HEIGHT: f64 = 46.0;
const NODE_GAP: f64 = 26.0;
/// Height of the lane in which a link passes a layer.
const PASS_HEIGHT: f64 = 22.0;
/// Space around the nodes of a template, and above them for its title.
pub(crate) const TEMPLATE_PAD: f64 = 16.0;
pub(crate) const TEMPLATE_TITLE: f64 = 20.0;
/// Space between bands.
const BAND_GAP: f64 = 22.0;
/// How often the order and the heights are improved.
const ROUNDS: usize = 12;

/// Where everything stands. Heights are those of centres.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// For each node, its layer.
    pub(crate) layer: Vec<usize>,
    /// For each node, its height.
    pub(crate) y: Vec<f64>,
    /// For each link, the heights at which it passes the layers between its
    /// ends.
    pub(crate) passes: Vec<Vec<f64>>,
    /// For each template, the layers and heights it takes, if it has nodes.
    pub(crate) templates: Vec<Option<Extent>>,
    pub(crate) height: f64,
}

/// The layers and heights that something takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

/// A node, or a link that passes a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Item {
    Node(usize),
    Pass { link: usize, index: usize },
}

/// Nodes that belong together: linked to one another, or of one template.
struct Band {
    template: Option<usize>,
    /// By layer, from `first`: items from top to bottom.
    layers: Vec<Vec<Item>>,
    first: usize,
}

impl Layout {
    pub(crate) fn of(net: &Net) -> Self {
        let mut layout = Self { y: vec![0.0; net.nodes.len()], ..Self::default() };
        layout.layer = layers(net);
        layout.templates = vec![None; net.templates.len()];
        let band_of = bands(net);
        layout.passes =
            net.links.iter().map(|link| vec![0.0; layout.between(&band_of, link).len()]).collect();
        let count = band_of.iter().max().map_or(0, |last| last + 1);
        let mut placed: Vec<Extent> = Vec::new();
        let mut done = vec![false; net.nodes.len()];
        for band in 0..count {
            let mut band = layout.band(net, &band_of, band);
            layout.reduce_crossings(net, &mut band);
            layout.set_heights(net, &mut band);
            let extent = layout.place(net, &band, &placed, &done);
            placed.push(extent);
            for item in band.layers.iter().flatten() {
                if let Item::Node(node) = item {
                    done[*node] = true;
                }
            }
            if let Some(template) = band.template {
                layout.templates[template] = Some(extent);
            }
        }
        layout.begin_at_zero(&placed);
        layout
    }

    /// The layers that a link passes inside its band.
    fn between(&self, band_of: &[usize], link: &NetLink) -> std::ops::Range<usize> {
        let (from, to) = (link.from.0, link.to.0);
        if link.is_loop || band_of[from] != band_of[to] {
            return 0..0;
        }
        let first = self.layer[from] + 1;
        first..self.layer[to].max(first)
    }

    fn band(&self, net: &Net, band_of: &[usize], band: usize) -> Band {
        let nodes: Vec<_> = (0..net.nodes.len()).filter(|node| band_of[*node] == band).collect();
        let first = nodes.iter().map(|node| self.layer[*node]).min().unwrap_or(0);
        let last = nodes.iter().map(|node| self.layer[*node]).max().unwrap_or(0);
        let mut layers = vec![Vec::new(); last - first + 1];
        for &node in &nodes {
            layers[self.layer[node] - first].push(Item::Node(node));
        }
        for (index, link) in net.links.iter().enumerate().filter(|(_, link)| band_of[link.from.0] == band) {
            for (pass, layer) in self.between(band_of, link).enumerate() {
                layers[layer - first].push(Item::Pass { link: index, index: pass });
            }
        }
        Band { template: nodes.first().and_then(|node| net.nodes[*node].template), layers, first }
    }

    /// Orders the items of each layer by where their neighbours stand.
    fn reduce_crossings(&self, net: &Net, band: &mut Band) {
        let neighbours = Neighbours::of(self, net, band);
        for round in 0..ROUNDS {
            let forward = round % 2 == 0;
            let count = band.layers.len();
            for step in 1..count {
                let at = if forward { step } else { count - 1 - step };
                let beside = if forward { at - 1 } else { at + 1 };
                let places: HashMap<_, _> =
                    band.layers[beside].iter().enumerate().map(|(place, item)| (*item, place)).collect();
                let rank = |item: &Item, old: usize| {
                    let near = neighbours.beside(*item, forward);
                    let places = near.iter().filter_map(|near| places.get(near));
                    let places: Vec<_> = places.collect();
                    if places.is_empty() {
                        old as f64
                    } else {
                        mean(places.iter().map(|place| **place as f64))
                    }
                };
                let mut ranked: Vec<_> =
                    band.layers[at].iter().enumerate().map(|(old, item)| (rank(item, old), *item)).collect();
                ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
                band.layers[at] = ranked.into_iter().map(|(_, item)| item).collect();
            }
        }
    }

    /// Sets heights inside a band: each item near its neighbours, none on
    /// another.
    fn set_heights(&mut self, net: &Net, band: &mut Band) {
        let neighbours = Neighbours::of(self, net, band);
        for layer in &band.layers {
            let mut y = 0.0;
            for (index, item) in layer.iter().enumerate() {
                y += if index == 0 { 0.0 } else { apart(layer[index - 1], *item) };
                self.set(*item, y);
            }
        }
        for round in 0..=ROUNDS {
            // The last round is one from the sources on, so that chains lie straight.
            let forward = round % 2 == 0;
            let count = band.layers.len();
            for step in 0..count {
                let at = match round {
                    // Sources last of all, level with what they feed.
                    ROUNDS => (step + 1) % count,
                    _ if forward => step,
                    _ => count - 1 - step,
                };
                let layer = &band.layers[at];
                let wanted: Vec<_> = layer
                    .iter()
                    .map(|item| {
                        let mut near = neighbours.beside(*item, forward);
                        if near.is_empty() {
                            near = neighbours.beside(*item, !forward);
                        }
                        if near.is_empty() {
                            self.get(*item)
                        } else {
                            mean(near.iter().map(|near| self.get(*near)))
                        }
                    })
                    .collect();
                let mut heights = wanted.clone();
                for index in 1..layer.len() {
                    heights[index] =
                        heights[index].max(heights[index - 1] + apart(layer[index - 1], layer[index]));
                }
                let shift = mean(wanted.iter().zip(&heights).map(|(wanted, height)| wanted - height));
                for (item, height) in layer.iter().zip(heights) {
                    self.set(*item, height + shift);
                }
            }
        }
    }

    /// Moves a band as a whole to where it is near what it is linked to and
    /// touches nothing.
    fn place(&mut self, net: &Net, band: &Band, placed: &[Extent], done: &[bool]) -> Extent {
        let items: Vec<_> = band.layers.iter().flatten().copied().collect();
        let half = |item: &Item| height_of(*item) / 2.0;
        let pad = if band.template.is_some() { TEMPLATE_PAD } else { 0.0 };
        let title = if band.template.is_some() { TEMPLATE_TITLE } else { 0.0 };
        let top =
            items.iter().map(|item| self.get(*item) - half(item)).fold(f64::MAX, f64::min) - pad - title;
        let bottom = items.iter().map(|item| self.get(*item) + half(item)).fold(f64::MIN, f64::max) + pad;
        let (first, last) = (band.first, band.first + band.layers.len() - 1);

        // How far down it would have to go to be level with its neighbours.
        let mine = |node: usize| items.contains(&Item::Node(node));
        let pulls: Vec<_> = net
            .links
            .iter()
            .filter_map(|link| {
                let (from, to) = (link.from.0, link.to.0);
                match (mine(from), mine(to)) {
                    (true, false) if done[to] => Some(self.y[to] - self.y[from]),
                    (false, true) if done[from] => Some(self.y[from] - self.y[to]),
                    _ => None,
                }
            })
            .collect();
        let lowest = placed.iter().map(|extent| extent.bottom).fold(0.0, f64::max);
        let wanted = if pulls.is_empty() { lowest + BAND_GAP - top } else { mean(pulls.iter().copied()) };
        let rivals: Vec<_> =
            placed.iter().filter(|other| other.first <= last && first <= other.last).collect();
        let is_free = |shift: f64| {
            rivals.iter().all(|other| {
                top + shift >= other.bottom + BAND_GAP - 0.01 || bottom + shift <= other.top - BAND_GAP + 0.01
            })
        };
        // Of very many the nearest place is not worth its search.
        let beside = rivals
            .iter()
            .take(200)
            .flat_map(|other| [other.bottom + BAND_GAP - top, other.top - BAND_GAP - bottom]);
        let shift = std::iter::once(wanted)
            .chain(beside)
            .filter(|shift| is_free(*shift))
            .min_by(|a, b| (a - wanted).abs().total_cmp(&(b - wanted).abs()))
            .unwrap_or(lowest + BAND_GAP - top);
        for item in items {
            self.set(item, self.get(item) + shift);
        }
        Extent { first, last, top: top + shift, bottom: bottom + shift }
    }

    fn begin_at_zero(&mut self, placed: &[Extent]) {
        let top = placed.iter().map(|extent| extent.top).fold(f64::MAX, f64::min);
        let bottom = placed.iter().map(|extent| extent.bottom).fold(f64::MIN, f64::max);
        if placed.is_empty() {
            return;
        }
        self.height = bottom - top;
        self.y.iter_mut().for_each(|y| *y -= top);
        self.passes.iter_mut().flatten().for_each(|y| *y -= top);
        for extent in self.templates.iter_mut().flatten() {
            extent.top -= top;
            extent.bottom -= top;
        }
    }

    fn get(&self, item: Item) -> f64 {
        match item {
            Item::Node(node) => self.y[node],
            Item::Pass { link, index } => self.passes[link][index],
        }
    }

    fn set(&mut self, item: Item, y: f64) {
        match item {
            Item::Node(node) => self.y[node] = y,
            Item::Pass { link, index } => self.passes[link][index] = y,
        }
    }
}

/// The layer of each node: one more than the last of those that feed it;
/// sources stand right before what they feed.
fn layers(net: &Net) -> Vec<usize> {
    let order = Order::of(net);
    let mut layer = vec![0; net.nodes.len()];
    for &node in &order.nodes {
        let before = order.into[node].iter().map(|index| &net.links[*index]);
        let before = before.filter(|link| !link.is_loop).map(|link| layer[link.from.0] + 1);
        layer[node] = before.max().unwrap_or(0);
    }
    for node in 0..net.nodes.len() {
        if order.into[node].iter().all(|index| net.links[*index].is_loop) {
            let after = net.links.iter().filter(|link| link.from.0 == node && !link.is_loop);
            layer[node] = after.map(|link| layer[link.to.0] - 1).min().unwrap_or(0);
        }
    }
    layer
}

/// The band of each node, bands in the order in which they are to be placed:
/// first what the file begins with, then what is linked to that.
fn bands(net: &Net) -> Vec<usize> {
    let count = net.nodes.len();
    let mut near = vec![Vec::new(); count];
    let mut across = vec![Vec::new(); count];
    for link in &net.links {
        let (from, to) = (link.from.0, link.to.0);
        let list = if net.nodes[from].template == net.nodes[to].template { &mut near } else { &mut across };
        list[from].push(to);
        list[to].push(from);
    }
    let mut raw = vec![usize::MAX; count];
    let mut members: Vec<Vec<usize>> = Vec::new();
    for start in 0..count {
        if raw[start] != usize::MAX {
            continue;
        }
        let band = members.len();
        let mut open = vec![start];
        // What one template makes stands in one box, linked or not.
        if let Some(template) = net.nodes[start].template {
            open = (0..count).filter(|node| net.nodes[*node].template == Some(template)).collect();
        }
        let mut list = Vec::new();
        while let Some(node) = open.pop() {
            if raw[node] == usize::MAX {
                raw[node] = band;
                list.push(node);
                open.extend(near[node].iter().rev());
            }
        }
        list.sort_unstable();
        members.push(list);
    }
    let mut place = vec![usize::MAX; members.len()];
    let mut next = 0;
    for start in 0..members.len() {
        let mut open = std::collections::VecDeque::from([start]);
        while let Some(band) = open.pop_front() {
            if place[band] != usize::MAX {
                continue;
            }
            place[band] = next;
            next += 1;
            open.extend(members[band].iter().flat_map(|node| &across[*node]).map(|node| raw[*node]));
        }
    }
    raw.into_iter().map(|band| place[band]).collect()
}

/// The items that each item of a band is linked to, in the layers beside it.
struct Neighbours {
    before: Vec<(Item, Item)>,
    after: Vec<(Item, Item)>,
}

impl Neighbours {
    fn of(layout: &Layout, net: &Net, band: &Band) -> Self {
        let mut pairs = Vec::new();
        let items: HashSet<_> = band.layers.iter().flatten().copied().collect();
        let mine = |node: usize| items.contains(&Item::Node(node));
        for (link, passes) in layout.passes.iter().enumerate() {
            let NetLink { from, to, is_loop, .. } = net.links[link];
            if is_loop || !mine(from.0) || !mine(to.0) {
                continue;
            }
            let mut last = Item::Node(from.0);
            for index in 0..passes.len() {
                let next = Item::Pass { link, index };
                pairs.push((last, next));
                last = next;
            }
            pairs.push((last, Item::Node(to.0)));
        }

        let mut before: Vec<_> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
        before.sort_by_key(|(item, _)| *item);
        pairs.sort_by_key(|(item, _)| *item);
        Self { before, after: pairs }
    }

    fn beside(&self, item: Item, before: bool) -> Vec<Item> {
        let list = if before { &self.before } else { &self.after };
        let start = list.partition_point(|(of, _)| *of < item);
        list[start..].iter().take_while(|(of, _)| *of == item).map(|(_, near)| *near).collect()
    }
}

fn height_of(item: Item) -> f64 {
    match item {
        Item::Node(_) => NODE_HEIGHT,
        Item::Pass { .. } => PASS_HEIGHT,
    }
}

/// How far the centres of two items, one above the other, stand apart.
fn apart(above: Item, below: Item) -> f64 {
    let gap =
        if matches!((above, below), (Item::Node(_), Item::Node(_))) { NODE_GAP } else { NODE_GAP / 2.0 };
    (height_of(above) + height_of(below)) / 2.0 + gap
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    if count > 0.0 { sum / count } else { 0.0 }
}
