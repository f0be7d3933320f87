package tamis;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.lucene.document.BinaryDocValuesField;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.FieldType;
import org.apache.lucene.document.NumericDocValuesField;
import org.apache.lucene.document.StringField;
import org.apache.lucene.index.IndexOptions;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.util.BytesRef;

/**
 * Adds batches of rows to an index writer through one reused document with Anserini's fields and our row number. Not safe for
 * threads: a writer's thread has its own.
 */
public final class Feed {
  private final IndexWriter writer;
  private final Document document = new Document();
  private final Field id = new StringField("id", "", Field.Store.YES);
  private final Field idValues = new BinaryDocValuesField("id", new BytesRef());
  private final Field row = new NumericDocValuesField("row", 0);
  private final Field[] texts;

  public Feed(IndexWriter writer, String[] fields) {
    this.writer = writer;
    FieldType kind = new FieldType();
    kind.setStored(false);
    kind.setTokenized(true);
    kind.setStoreTermVectors(true);
    kind.setStoreTermVectorPositions(true);
    kind.setIndexOptions(IndexOptions.DOCS_AND_FREQS_AND_POSITIONS);
    texts = new Field[fields.length];
    for (Field field : new Field[] {id, idValues, row}) document.add(field);
    for (int i = 0; i < fields.length; i++) document.add(texts[i] = new Field(fields[i], "", kind));
  }

  /**
   * Adds one document a row.
   *
   * @param rows the row numbers
   * @param data UTF-8 of one column each: ids first, then the text fields in their order
   * @param offsets where each row's text begins in its column, and one end
   */
  public void add(long[] rows, byte[][] data, int[][] offsets) throws IOException {
    for (int i = 0; i < rows.length; i++) {
      String identifier = text(data[0], offsets[0], i);
      id.setStringValue(identifier);
      idValues.setBytesValue(new BytesRef(identifier));
      row.setLongValue(rows[i]);
      for (int f = 0; f < texts.length; f++) texts[f].setStringValue(text(data[f + 1], offsets[f + 1], i));
      writer.addDocument(document);
    }
  }

  private static String text(byte[] data, int[] offsets, int i) {
    return new String(data, offsets[i], offsets[i + 1] - offsets[i], StandardCharsets.UTF_8);
  }
}
