import XCTest

@testable import EdgeBundle

/// The cases that Python computed, in `sample_apps/vectors`; the Android app is tested with the same.
final class VectorsTests: XCTestCase {
    private static let vectors = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("vectors")

    private func data(_ name: String) throws -> Data { try Data(contentsOf: Self.vectors.appendingPathComponent(name)) }

    private func cases(_ name: String) throws -> [Fields] {
        let found = try JSONSerialization.jsonObject(with: data(name)) as? [NSDictionary]
        return try XCTUnwrap(found).map { Fields($0, name) }
    }

    private func check(_ fields: Fields, _ made: Tensor, _ tolerance: Double) throws {
        XCTAssertEqual(made.shape, try fields.ints("shape"))
        for (found, wanted) in zip(made.values, try fields.numbers("values")) {
            XCTAssertEqual(found, Double(Float(wanted)), accuracy: tolerance) // written as the shortest decimals
        }
    }

    func testTextsGetTheSameTokens() throws {
        var tokenizers: [String: WordPiece] = [:]
        for name in ["uncased", "cased"] { tokenizers[name] = try WordPiece(parsing: data("tokenizer-\(name).json")) }
        let listed = try cases("text.json")
        for fields in listed {
            let tokenizer = try XCTUnwrap(tokenizers[fields.string("tokenizer")])
            let texts = try fields.strings("texts")
            let made = try TextFeatures(fields.fields("preprocess"), tokenizer).encode(texts)
            let arrays = try fields.fields("arrays")
            XCTAssertEqual(Set(arrays.names), Set(made.keys))
            for (name, tensor) in made { XCTAssertEqual(tensor.values, try arrays.numbers(name), "\(name) of \(texts)") }
        }
        XCTAssertEqual(listed.count, 80)
    }

    func testPicturesGetTheSameBits() throws {
        let listed = try cases("image.json")
        for fields in listed {
            let bytes = try fields.ints("pixels").map { UInt8($0) }
            let pixels = try Pixels(width: fields.int("width"), height: fields.int("height"), data: bytes)
            let made = try ImageFeatures(fields.fields("preprocess")).encode(pixels)
            try check(fields, XCTUnwrap(made["pixel_values"]), 0)
        }
        XCTAssertEqual(listed.count, 12)
    }

    func testRecordingsGetTheSameFeatures() throws {
        let listed = try cases("log-mel.json")
        for fields in listed {
            let waveform = try fields.ints("samples").map { Float($0) / 32768 }
            let made = try LogMelFeatures(fields.fields("preprocess")).encode(waveform)
            try check(fields, XCTUnwrap(made["input_features"]), 1e-5)
        }
        XCTAssertEqual(listed.count, 6)
    }
}
