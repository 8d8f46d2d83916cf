import CryptoKit
import Foundation

/// A model's input or output; where `scale` is not nil, its integers are reals / scale + zeroPoint.
public struct Spec {
    public let name: String
    public let type: ElementType
    public let scale: Double?
    public let zeroPoint: Int
}

/// A folder written by `edgeexport export`, whose files are as they were packed.
public struct ModelBundle {
    public let folder: URL
    public let artifact: String
    public let format: String
    public let task: String
    public let labels: [String]
    public let preprocess: Fields
    public let inputs: [Spec]
    public let outputs: [Spec]

    private static let manifestName = "manifest.json"
    private static let schema = 1

    /// Throws `BundleError` where it is no bundle, or a file is missing or was altered.
    public init(folder: URL) throws {
        let name = Self.manifestName
        guard let data = try? Data(contentsOf: folder.appendingPathComponent(name)) else {
            throw BundleError("there is no bundle: \(name) cannot be read")
        }
        let manifest = try Fields.parse(data, name)
        let version = try manifest.int("schema_version")
        guard version == Self.schema else {
            throw BundleError("\(name) has schema \(version), this app reads \(Self.schema)")
        }
        let hashes = try manifest.fields("files")
        for file in hashes.names { try Self.check(folder, file, hashes.string(file)) }
        let signature = try manifest.fields("signature")
        self.folder = folder
        artifact = try manifest.string("artifact")
        format = try manifest.string("format")
        task = try manifest.string("task")
        labels = try manifest.isNull("labels") ? [] : manifest.strings("labels")
        preprocess = try manifest.fields("preprocess")
        inputs = try signature.objects("inputs").map(Self.spec)
        outputs = try signature.objects("outputs").map(Self.spec)
    }

    public func read(_ name: String) throws -> Data {
        guard let data = try? Data(contentsOf: folder.appendingPathComponent(name)) else {
            throw BundleError("\(name) is missing from the bundle; copy the whole of it again")
        }
        return data
    }

    /// Golden `inputs`, as the model takes them, or the float32 source's `outputs`; one dictionary a sample.
    public func golden(_ kind: String) throws -> [[String: Tensor]] {
        let place = "golden/\(kind)"
        let index = try Fields.parse(read("\(place)/index.json"), "\(place)/index.json")
        let names = try index.strings("names")
        let types = try index.strings("dtypes").map(ElementType.coded)
        let data = try names.indices.map { try read("\(place)/\($0).bin") }
        guard let shapes = index.raw("shapes") as? [[[Int]]], types.count == names.count else {
            throw BundleError("\(place)/index.json is malformed")
        }
        var offsets = [Int](repeating: 0, count: names.count)
        return try shapes.map { sample in
            guard sample.count == names.count else { throw BundleError("\(place)/index.json is malformed") }
            var found: [String: Tensor] = [:]
            for (number, shape) in sample.enumerated() {
                let file = "\(place)/\(number).bin"
                let type = types[number]
                found[names[number]] = try Tensor.read(data[number], at: offsets[number], type: type, shape: shape, place: file)
                offsets[number] += shape.reduce(1, *) * type.bytes
            }
            return found
        }
    }

    private static func spec(_ fields: Fields) throws -> Spec {
        try Spec(
            name: fields.string("name"),
            type: ElementType.labelled(fields.string("dtype")),
            scale: fields.isNull("scale") ? nil : fields.number("scale"),
            zeroPoint: fields.isNull("zero_point") ? 0 : fields.int("zero_point")
        )
    }

    private static func check(_ folder: URL, _ name: String, _ expected: String) throws {
        guard !name.hasPrefix("/"), !name.split(separator: "/").contains("..") else {
            throw BundleError("\(manifestName) names a file outside the bundle: \(name)")
        }
        guard let data = try? Data(contentsOf: folder.appendingPathComponent(name), options: .mappedIfSafe) else {
            throw BundleError("\(name) is missing from the bundle; copy the whole of it again")
        }
        let found = SHA256.hash(data: data).map { String(format: "%02x", $0) }.joined()
        guard found == expected else { throw BundleError("\(name) was altered; copy the whole bundle again") }
    }
}
