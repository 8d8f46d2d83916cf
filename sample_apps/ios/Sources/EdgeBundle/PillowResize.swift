import Foundation

/// RGB pixels, rows from the top, three bytes each.
public struct Pixels {
    public let width: Int
    public let height: Int
    public let data: [UInt8]

    public init(width: Int, height: Int, data: [UInt8]) throws {
        guard data.count == 3 * width * height else {
            throw BundleError("\(width) x \(height) pixels are not \(data.count) bytes")
        }
        self.width = width
        self.height = height
        self.data = data
    }

    func at(_ x: Int, _ y: Int, _ channel: Int) -> Int { Int(data[3 * (y * width + x) + channel]) }
}

/// The resizing of Pillow 13 to the last bit: filters that widen with the scale, weights in 22-bit fixed point, two passes.
///
/// Where the height shrinks by more than twice the pixels that the width does, the pass down comes first. Earlier versions
/// always go across first, which moves some values by one.
enum PillowResize {
    private static let precision = 22

    private struct Filter {
        let support: Double
        let weight: (Double) -> Double
    }

    /// Where an output pixel's window begins, and its weights.
    private struct Window {
        let start: Int
        let weights: [Int]
    }

    private static let filters: [String: Filter] = [
        "box": Filter(support: 0.5) { $0 > -0.5 && $0 <= 0.5 ? 1 : 0 },
        "bilinear": Filter(support: 1) { max(0, 1 - abs($0)) },
        "hamming": Filter(support: 1) { x in
            let turn = abs(x) * Double.pi
            return x == 0 ? 1 : abs(x) >= 1 ? 0 : sin(turn) / turn * (0.54 + 0.46 * cos(turn))
        },
        "bicubic": Filter(support: 2) { bicubic(abs($0)) },
        "lanczos": Filter(support: 3) { $0 >= -3 && $0 < 3 ? sinc($0) * sinc($0 / 3) : 0 },
    ]

    static func resize(_ pixels: Pixels, _ width: Int, _ height: Int, _ filter: String) throws -> Pixels {
        if width == pixels.width && height == pixels.height { return pixels }
        if filter == "nearest" { return try nearest(pixels, width, height) }
        guard let chosen = filters[filter] else { throw BundleError("there is no filter '\(filter)'") }
        let passes: [(Pixels) throws -> Pixels] = [
            { try width == $0.width ? $0 : across($0, windows($0.width, width, chosen)) },
            { try height == $0.height ? $0 : down($0, windows($0.height, height, chosen)) },
        ]
        let shrinks = pixels.height - height
        let downFirst = shrinks > 0 && shrinks > 2 * (pixels.width - width)
        return try (downFirst ? passes.reversed() : passes).reduce(pixels) { made, pass in try pass(made) }
    }

    private static func across(_ pixels: Pixels, _ windows: [Window]) throws -> Pixels {
        var made: [UInt8] = []
        made.reserveCapacity(3 * windows.count * pixels.height)
        for y in 0..<pixels.height {
            for window in windows {
                for channel in 0..<3 { made.append(weighed(window) { pixels.at($0, y, channel) }) }
            }
        }
        return try Pixels(width: windows.count, height: pixels.height, data: made)
    }

    private static func down(_ pixels: Pixels, _ windows: [Window]) throws -> Pixels {
        var made: [UInt8] = []
        made.reserveCapacity(3 * pixels.width * windows.count)
        for window in windows {
            for x in 0..<pixels.width {
                for channel in 0..<3 { made.append(weighed(window) { pixels.at(x, $0, channel) }) }
            }
        }
        return try Pixels(width: pixels.width, height: windows.count, data: made)
    }

    private static func weighed(_ window: Window, _ value: (Int) -> Int) -> UInt8 {
        var sum = 1 << (precision - 1)
        for (number, weight) in window.weights.enumerated() { sum += value(window.start + number) * weight }
        return UInt8(min(255, max(0, sum >> precision)))
    }

    private static func windows(_ from: Int, _ to: Int, _ filter: Filter) -> [Window] {
        let scale = Double(from) / Double(to)
        let stretch = max(1, scale)
        let support = filter.support * stretch
        return (0..<to).map { place in
            let center = (Double(place) + 0.5) * scale
            let start = max(0, Int(center - support + 0.5))
            let end = min(from, Int(center + support + 0.5))
            let weights = (0..<(end - start)).map { filter.weight((Double(start + $0) - center + 0.5) * (1 / stretch)) }
            let total = weights.reduce(0, +)
            return Window(start: start, weights: weights.map { fixed(total != 0 ? $0 / total : $0) })
        }
    }

    private static func fixed(_ weight: Double) -> Int { Int((weight < 0 ? -0.5 : 0.5) + weight * Double(1 << precision)) }

    private static func bicubic(_ x: Double) -> Double {
        let a = -0.5
        if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
        return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
    }

    private static func sinc(_ x: Double) -> Double { x == 0 ? 1 : sin(x * Double.pi) / (x * Double.pi) }

    private static func nearest(_ pixels: Pixels, _ width: Int, _ height: Int) throws -> Pixels {
        let columns = places(pixels.width, width)
        var made: [UInt8] = []
        for y in places(pixels.height, height) {
            for x in columns {
                for channel in 0..<3 { made.append(UInt8(pixels.at(x, y, channel))) }
            }
        }
        return try Pixels(width: width, height: height, data: made)
    }

    /// Added up step by step, as Pillow does: a product would round otherwise.
    private static func places(_ from: Int, _ to: Int) -> [Int] {
        let step = Double(from) / Double(to)
        var place = step * 0.5
        return (0..<to).map { _ in
            defer { place += step }
            return Int(place)
        }
    }
}
