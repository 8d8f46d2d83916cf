import Foundation

/// Texts to token ids, by a manifest's `tokenizer` preprocessing.
public struct TextFeatures {
    private let spec: Fields
    private let tokenizer: WordPiece
    /// How many texts a sample has.
    public let count: Int

    public init(_ spec: Fields, _ tokenizer: WordPiece) throws {
        self.spec = spec
        self.tokenizer = tokenizer
        count = max(1, try spec.strings("fields").count)
    }

    /// Arrays [1, tokens] by input name.
    public func encode(_ texts: [String]) throws -> [String: Tensor] {
        guard texts.count == count else { throw BundleError("the model takes \(count) text(s), not \(texts.count)") }
        let left = try spec.string("truncation_side") == "left"
        let encoding = try tokenizer.encode(texts, maxLength: spec.int("max_length"), cutLeft: left)
        let size = encoding.ids.count
        let length = try padded(size)
        func row(_ values: [Int], _ padding: Int) -> [Int] { values + Array(repeating: padding, count: length - size) }
        let type = try ElementType.labelled(spec.string("dtype"))
        var arrays: [String: Tensor] = [:]
        for name in try spec.strings("inputs") {
            let values: [Int]
            switch name {
            case "input_ids": values = row(encoding.ids, try spec.int("pad_id"))
            case "token_type_ids": values = row(encoding.types, try spec.int("pad_type_id"))
            case "attention_mask": values = row(Array(repeating: 1, count: size), 0)
            case "position_ids": values = Array(0..<length)
            default: throw BundleError("the model takes '\(name)', which no text gives")
            }
            arrays[name] = try Tensor(type, [1, length], values.map(Double.init))
        }
        return arrays
    }

    private func padded(_ size: Int) throws -> Int {
        let lengths = try spec.ints("lengths")
        if lengths.isEmpty { return size }
        guard let length = lengths.filter({ $0 >= size }).min() else {
            throw BundleError("no length of the model holds \(size) tokens")
        }
        return length
    }
}
