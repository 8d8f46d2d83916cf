import CoreGraphics
import EdgeBundle
import Foundation
import ImageIO

/// A bundle with its model and what makes inputs for it, and what the screen shows of them.
@MainActor
final class Classifier: ObservableObject {
    enum Kind {
        case texts(Int)
        case picture
        case recording
        case arrays
    }

    @Published private(set) var about = "Loading the bundle…"
    @Published private(set) var kind: Kind?
    @Published private(set) var classes: [Scored] = []
    @Published private(set) var message = ""
    @Published private(set) var busy = false

    private var bundle: ModelBundle?
    private var engine: CoreMLEngine?
    private var tokenizer: WordPiece?

    func load() async {
        do {
            guard let folder = Foundation.Bundle.main.url(forResource: "Bundle", withExtension: nil) else {
                throw BundleError("the app holds no folder 'Bundle'; see README.md")
            }
            let opened = try await Task.detached { try ModelBundle(folder: folder) }.value
            engine = try await CoreMLEngine.load(opened)
            switch try opened.preprocess.string("kind") {
            case "tokenizer":
                tokenizer = try WordPiece(parsing: opened.read("tokenizer.json"))
                kind = .texts(max(1, try opened.preprocess.strings("fields").count))
            case "image": kind = .picture
            case "log-mel": kind = .recording
            default: kind = .arrays
            }
            bundle = opened
            let classes = opened.task == "classification" ? ", \(opened.labels.count) classes" : ""
            about = "\(opened.artifact), \(opened.task)\(classes)"
        } catch {
            about = error.localizedDescription
        }
    }

    func classify(texts: [String]) async {
        await work { [tokenizer] bundle in
            guard let tokenizer else { throw BundleError("the model takes no text") }
            return try TextFeatures(bundle.preprocess, tokenizer).encode(texts)
        }
    }

    func classify(picture data: Data) async {
        await work { bundle in try ImageFeatures(bundle.preprocess).encode(pixels(data)) }
    }

    func classify(recording file: URL) async {
        await work { bundle in
            let opened = file.startAccessingSecurityScopedResource()
            defer { if opened { file.stopAccessingSecurityScopedResource() } }
            let features = try LogMelFeatures(bundle.preprocess)
            return try features.encode(Wav.read(Data(contentsOf: file), rate: features.sampleRate))
        }
    }

    func selfTest() async {
        guard let bundle, let engine else { return }
        busy = true
        classes = []
        do {
            message = try await Task.detached { try SelfTest.run(bundle, engine).description }.value
        } catch {
            message = error.localizedDescription
        }
        busy = false
    }

    /// Off the main thread; the classes are shown, the numbers of a model that gives none, or why there is neither.
    private func work(_ encode: @escaping (ModelBundle) throws -> [String: Tensor]) async {
        guard let bundle, let engine else { return }
        busy = true
        message = ""
        do {
            (classes, message) = try await Task.detached { () -> ([Scored], String) in
                let inputs = try Scales.quantized(encode(bundle), bundle.inputs)
                let outputs = try Scales.dequantized(engine.run(inputs), bundle.outputs)
                guard let first = bundle.outputs.first, let scores = outputs[first.name] else { return ([], "") }
                guard bundle.task == "classification" else { return ([], numbers(scores)) }
                return (ranked(scores, bundle.labels), "")
            }.value
        } catch {
            classes = []
            message = error.localizedDescription
        }
        busy = false
    }
}

/// The first picture of a file as RGB, as it is stored: turned by no orientation tag, as in Python.
private func pixels(_ data: Data) throws -> Pixels {
    guard let source = CGImageSourceCreateWithData(data as CFData, nil),
        let image = CGImageSourceCreateImageAtIndex(source, 0, nil),
        let space = CGColorSpace(name: CGColorSpace.sRGB)
    else { throw BundleError("the file is no picture that this phone reads") }
    let (width, height) = (image.width, image.height)
    var rgba = [UInt8](repeating: 0, count: 4 * width * height)
    let drawn = rgba.withUnsafeMutableBytes { memory -> Bool in
        guard let context = CGContext(
            data: memory.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
            space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue
        ) else { return false }
        context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
        return true
    }
    guard drawn else { throw BundleError("there is no memory for the picture") }
    return try Pixels(width: width, height: height, data: (0..<(3 * width * height)).map { rgba[4 * ($0 / 3) + $0 % 3] })
}
