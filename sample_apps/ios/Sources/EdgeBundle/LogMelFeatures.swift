import Foundation

/// Recordings to log-mel spectrograms, by a manifest's `log-mel` preprocessing, in double precision.
public struct LogMelFeatures {
    public let sampleRate: Int
    /// Samples that are used; a shorter recording is continued by silence.
    public let samples: Int
    private let spec: Fields
    private let size: Int
    private let hop: Int
    private let frames: Int
    private let mels: Int
    private let center: Bool
    private let power: Double
    private let window: [Double]
    private let filters: [[Double]]
    private let cosines: [Double]
    private let sines: [Double]

    public init(_ spec: Fields) throws {
        self.spec = spec
        sampleRate = try spec.int("sample_rate")
        let size = try spec.int("n_fft")
        self.size = size
        hop = try spec.int("hop_length")
        frames = try spec.int("frames")
        mels = try spec.int("n_mels")
        center = try spec.flag("center")
        power = try spec.number("power")
        samples = center ? frames * hop : (frames - 1) * hop + size
        let length = try spec.int("win_length")
        let start = (size - length) / 2
        window = (0..<size).map {
            let place = $0 - start
            return (0..<length).contains(place) ? 0.5 - 0.5 * cos(2 * Double.pi * Double(place) / Double(length)) : 0
        }
        cosines = (0..<size).map { cos(2 * Double.pi * Double($0) / Double(size)) }
        sines = (0..<size).map { sin(2 * Double.pi * Double($0) / Double(size)) }
        filters = try Self.filters(spec)
    }

    /// An array [1, 1, mels, frames] or [1, frames, mels, 1] of a mono recording in [-1, 1), by the input's name.
    public func encode(_ waveform: [Float]) throws -> [String: Tensor] {
        let byFrame = try spec.string("layout") == "frames-mels-channel"
        var values = [Float](repeating: 0, count: mels * frames)
        for frame in 0..<frames {
            let energies = powers(waveform, frame)
            for mel in 0..<mels {
                let place = byFrame ? frame * mels + mel : mel * frames + frame
                values[place] = try scaled(zip(filters[mel], energies).map { $0 * $1 }.reduce(0, +))
            }
        }
        let shape = byFrame ? [1, frames, mels, 1] : [1, 1, mels, frames]
        return [try spec.string("input"): try Tensor.floats(shape, values)]
    }

    private func scaled(_ energy: Double) throws -> Float {
        let raised = max(energy, try spec.number("floor"))
        let logarithm = try spec.string("log") == "log" ? log(raised) : log10(raised)
        if spec.isNull("mean") { return Float(logarithm) }
        return Float((logarithm - (try spec.number("mean"))) / (try spec.number("std")))
    }

    /// |X|^power of one frame, at size / 2 + 1 frequencies.
    private func powers(_ waveform: [Float], _ frame: Int) -> [Double] {
        let part = (0..<size).map { window[$0] * sample(waveform, frame * hop + $0) }
        return (0...(size / 2)).map { frequency in
            var real = 0.0
            var imaginary = 0.0
            var turn = 0
            for value in part {
                real += value * cosines[turn]
                imaginary -= value * sines[turn]
                turn = (turn + frequency) % size
            }
            let energy = real * real + imaginary * imaginary
            return power == 2 ? energy : pow(energy.squareRoot(), power)
        }
    }

    /// Where the frames are centred, the used samples are mirrored about the first and the last.
    private func sample(_ waveform: [Float], _ place: Int) -> Double {
        var at = place
        if center {
            at = abs(place - size / 2)
            if at >= samples { at = 2 * (samples - 1) - at }
        }
        return at < waveform.count ? Double(waveform[at]) : 0
    }

    private static func filters(_ spec: Fields) throws -> [[Double]] {
        let htk = try spec.string("mel_scale") == "htk"
        let (size, mels, rate) = (try spec.int("n_fft"), try spec.int("n_mels"), Double(try spec.int("sample_rate")))
        let low = mel(try spec.number("f_min"), htk)
        let high = mel(try spec.number("f_max"), htk)
        let edges = (0..<(mels + 2)).map { hertz(low + (high - low) * Double($0) / Double(mels + 1), htk) }
        let area = try spec.string("norm") == "slaney"
        return (0..<mels).map { number in
            let (lower, peak, upper) = (edges[number], edges[number + 1], edges[number + 2])
            return (0...(size / 2)).map {
                let frequency = Double($0) * rate / Double(size)
                let height = max(0, min((frequency - lower) / (peak - lower), (upper - frequency) / (upper - peak)))
                return area ? height * 2 / (upper - lower) : height
            }
        }
    }

    private static func mel(_ hertz: Double, _ htk: Bool) -> Double {
        if htk { return 2595 * log10(1 + hertz / 700) }
        return hertz >= 1000 ? 15 + 27 * log(hertz / 1000) / log(6.4) : 3 * hertz / 200
    }

    private static func hertz(_ mel: Double, _ htk: Bool) -> Double {
        if htk { return 700 * (pow(10, mel / 2595) - 1) }
        return mel >= 15 ? 1000 * exp(log(6.4) * (mel - 15) / 27) : 200 * mel / 3
    }
}
